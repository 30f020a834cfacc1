"""Checks the owners and permissions of the files in the home directory, for `doctor`.

Read-only. Only its owner may read a key, and one group if the spec of its certificate names one.
Nobody else may write anything.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from certctl.model.errors import CertctlError, ConfigurationError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.run import Finding, Severity
from certctl.model.spec import CertificateSpec
from certctl.store.home.layout import Layout
from certctl.store.home.trust import HomeTrust
from certctl.system import trust
from certctl.system.users import group_id

_TRAVERSABLE = 0o001
_KEY_FILES = ("privkey.pem", "combined.pem")


@dataclass(frozen=True)
class _Access:
    """Access to a certificate's keys beyond the owner's: permission bits, and the group's id."""

    bits: int = 0
    group: int | None = None


def permission_findings(home: Path, specs: Iterable[CertificateSpec]) -> Iterator[Finding]:
    """Yield findings about wrong owners and modes below a home directory."""
    layout = Layout(home.absolute())
    if not layout.home.is_dir():
        yield Finding(
            "home.missing",
            Severity.INFO,
            str(home),
            "the home directory does not exist yet; the first issuance creates it",
        )
        return
    wanted = {each.name: each for each in specs}
    yield from _writable_by_others(layout)
    if not os.access(layout.home, os.W_OK | os.X_OK):
        yield Finding(
            "home.unwritable",
            Severity.ERROR,
            str(layout.home),
            "this user cannot write to the home directory, so nothing can be issued or renewed",
            "Run certctl as the owner of the directory (usually root), or use --home DIR.",
        )
    for spec in wanted.values():
        yield from _group_findings(layout, spec)
    yield from _all_key_findings(layout, wanted)


def _writable_by_others(layout: Layout) -> Iterator[Finding]:
    """Yield what another user could change to make certctl run any command."""
    reported: set[Path] = set()
    for path, error in HomeTrust(layout).problems():
        reported.add(path)
        yield _writable(path, error)
    # Unlike a run, which checks what it reads, this looks at every file.
    for directory, directories, files in os.walk(layout.home):
        directories.sort()
        for name in sorted([*directories, *files]):
            path = Path(directory, name)
            if path in reported or name in _KEY_FILES or name == "key.pem":
                continue
            try:
                trust.check_own(path)
            except ConfigurationError as error:
                yield _writable(path, error)
            except CertctlError:
                continue  # such as a loop of links: reported by other checks


def _writable(path: Path, error: ConfigurationError) -> Finding:
    hint = trust.file_hint(path, error) if path.is_file() else error.hint
    return Finding("home.writable", Severity.ERROR, str(path), error.message, hint)


def _group_findings(layout: Layout, spec: CertificateSpec) -> Iterator[Finding]:
    """Yield what prevents the group that a spec names from reading the keys."""
    if spec.key_group is None:
        return
    if group_id(spec.key_group) is None:
        yield Finding(
            "key.group",
            Severity.ERROR,
            spec.name,
            f"group {spec.key_group!r} (--key-group) does not exist on this machine",
            f"groupadd {spec.key_group}, or: certctl edit {spec.name} --key-group NAME",
        )
        return
    for directory in (layout.home, layout.archive, layout.live_links):
        mode = _mode(directory)
        if mode is not None and not mode & _TRAVERSABLE:
            yield Finding(
                "home.closed",
                Severity.WARNING,
                str(directory),
                f"group {spec.key_group} needs access to the keys of {spec.name}, but cannot"
                " traverse this directory",
                f"chmod 711 {directory}",
            )


def _all_key_findings(layout: Layout, specs: Mapping[str, CertificateSpec]) -> Iterator[Finding]:
    """Yield private keys that other users can read, or that belong to another user."""
    for versions in _entries(layout.archive):
        access = _access(specs.get(versions.name))
        replaced = f"certctl revoke {versions.name} --reason keyCompromise --replace"
        for version in _entries(versions):
            for name in _KEY_FILES:
                yield from _key_findings(version / name, access, replaced)
    for pending in _entries(layout.pending_orders):
        yield from _key_findings(pending / "privkey.pem", _Access())
    for ca in _entries(layout.accounts):
        for account in _entries(ca):
            yield from _key_findings(account / "key.pem", _Access(), "certctl account rollover")


def _access(spec: CertificateSpec | None) -> _Access:
    if spec is None:
        return _Access()
    group = None if spec.key_group is None else group_id(spec.key_group)
    bits = 0o040 if group is not None else 0
    return _Access(bits if spec.key_mode is None else spec.key_mode & 0o077, group)


def _key_findings(path: Path, access: _Access, replaced: str | None = None) -> Iterator[Finding]:
    """Yield findings about one private key; `replaced` is the command that replaces it."""
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
            f"the private key is accessible to other users (mode {mode:o}); {allowed} is enough",
            f"chmod {allowed} {path}"
            + (
                f"; if anyone else may have read the key, also replace it: {replaced}"
                if replaced
                else ""
            ),
        )
    if facts.st_uid not in {0, os.geteuid()}:
        yield Finding(
            "key.owner",
            Severity.ERROR,
            str(path),
            f"the private key belongs to user id {facts.st_uid}",
            f"chown {os.geteuid()} {path}",
        )


def _mode(path: Path) -> int | None:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None


def _entries(directory: Path) -> list[Path]:
    """Return the entries of a directory, sorted; nothing if it cannot be listed."""
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []
