"""Who may read and write what lies in the home directory, and who should.

For `doctor`: it looks, and changes nothing. Keys are their owner's alone, or one group's where the
spec of their certificate says so; nobody else may write anything.
"""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from certctl.errors import CertctlError, ConfigurationError
from certctl.models import CertificateSpec, Finding, Severity
from certctl.store.layout import Layout
from certctl.system.files import check_trusted

_PASSABLE = 0o001
_KEY_FILES = ("privkey.pem", "combined.pem")


@dataclass(frozen=True)
class _Access:
    """What a certificate's keys may allow beyond their owner: the bits, and the group's number."""

    bits: int = 0
    group: int | None = None


def permission_findings(home: Path, specs: Iterable[CertificateSpec]) -> Iterator[Finding]:
    """Yield what is wrong with owners and modes below a home directory."""
    layout = Layout(home.absolute())
    if not layout.home.is_dir():
        yield Finding(
            "home.missing",
            Severity.INFO,
            str(home),
            "the home directory does not exist yet; the first issuance makes it",
        )
        return
    wanted = {each.name: each for each in specs}
    yield from _trust(layout)
    if not os.access(layout.home, os.W_OK | os.X_OK):
        yield Finding(
            "home.unwritable",
            Severity.ERROR,
            str(layout.home),
            "this user may not write there, so nothing can be issued or renewed",
            "Run certctl as the owner of the directory (usually root), or use --home DIR.",
        )
    for spec in wanted.values():
        yield from _group(layout, spec)
    yield from _keys(layout, wanted)


def _trust(layout: Layout) -> Iterator[Finding]:
    """Yield what somebody else could write, and so make certctl do anything."""
    places = [layout.home, layout.home / "certctl.toml", layout.certificates]
    places += [*_inside(layout.certificates), *_inside(layout.home / "hooks")]
    places += [each for directory in _inside(layout.home / "hooks") for each in _inside(directory)]
    for place in places:
        try:
            check_trusted(place)
        except ConfigurationError as error:
            yield Finding("home.writable", Severity.ERROR, str(place), error.message, error.hint)
        except CertctlError:
            continue  # it is not there, or a link that leads nowhere: others tell of that


def _group(layout: Layout, spec: CertificateSpec) -> Iterator[Finding]:
    """Yield what keeps the group that a spec names from reading the keys."""
    if spec.key_group is None:
        return
    try:
        grp.getgrnam(spec.key_group)
    except KeyError:
        yield Finding(
            "key.group",
            Severity.ERROR,
            spec.name,
            f"this machine has no group {spec.key_group!r}, which should read its keys",
            f"groupadd {spec.key_group}, or: certctl edit {spec.name} --key-group NAME",
        )
        return
    for directory in (layout.home, layout.archive, layout.live_links):
        mode = _mode(directory)
        if mode is not None and not mode & _PASSABLE:
            yield Finding(
                "home.closed",
                Severity.WARNING,
                str(directory),
                f"the group {spec.key_group}, which should read the keys of {spec.name}, may not"
                " pass through it",
                f"chmod 711 {directory}",
            )


def _keys(layout: Layout, specs: Mapping[str, CertificateSpec]) -> Iterator[Finding]:
    """Yield the private keys that others can read, or that belong to somebody else."""
    for versions in _inside(layout.archive):
        access = _access(specs.get(versions.name))
        replaced = f"certctl revoke {versions.name} --reason keyCompromise --replace"
        for version in _inside(versions):
            for name in _KEY_FILES:
                yield from _key(version / name, access, replaced)
    for pending in _inside(layout.pendings):
        yield from _key(pending / "privkey.pem", _Access())
    for ca in _inside(layout.accounts):
        for account in _inside(ca):
            yield from _key(account / "key.pem", _Access(), "certctl account rollover")


def _access(spec: CertificateSpec | None) -> _Access:
    if spec is None:
        return _Access()
    group = None
    if spec.key_group is not None:
        try:
            group = grp.getgrnam(spec.key_group).gr_gid
        except KeyError:
            group = None
    bits = 0o040 if group is not None else 0
    return _Access(bits if spec.key_mode is None else spec.key_mode & 0o077, group)


def _key(path: Path, access: _Access, replaced: str | None = None) -> Iterator[Finding]:
    """Yield what is wrong with one private key; `replaced` is the command that makes it
    worthless.
    """
    try:
        facts = path.lstat()
    except OSError:
        return
    if not stat.S_ISREG(facts.st_mode):
        return
    mode = stat.S_IMODE(facts.st_mode)
    others = mode & 0o077 & ~access.bits
    if mode & 0o040 and access.group is not None and facts.st_gid != access.group:
        others |= 0o040
    if others:
        allowed = f"{0o600 | access.bits:o}"
        yield Finding(
            "key.mode",
            Severity.ERROR,
            str(path),
            f"others than its owner can get at the private key (mode {mode:o}); {allowed} is"
            " enough",
            f"chmod {allowed} {path}"
            + (f"; if strangers could log in here, also: {replaced}" if replaced else ""),
        )
    if facts.st_uid not in {0, os.geteuid()}:
        yield Finding(
            "key.owner",
            Severity.ERROR,
            str(path),
            f"the private key belongs to user {facts.st_uid}",
            f"chown {os.geteuid()} {path}",
        )


def _mode(path: Path) -> int | None:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None


def _inside(directory: Path) -> list[Path]:
    """Return what lies in a directory, sorted; nothing where it cannot be listed."""
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []
