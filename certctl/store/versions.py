"""Versions: written once into `archive/NAME/NUMBER`, never changed, and made live by one rename of
one link.

Which number comes next, and what target and deployed are, belongs to `certctl.store.local`; whether
key, certificate and chain fit together was inspected before they come here.
"""

from __future__ import annotations

import grp
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from certctl.errors import (
    ConfigurationError,
    StoreCorrupt,
    StoreError,
    UnknownCertificate,
)
from certctl.models import CertificateSpec, Material, Version
from certctl.store.documents import corrupt, encode, read_document
from certctl.store.layout import Layout
from certctl.store.records import from_version, to_version
from certctl.system.files import (
    PRIVATE_DIRECTORY,
    PRIVATE_FILE,
    as_store_error,
    discard,
    fsync_directory,
    read_bounded,
    remove_file,
    remove_tree,
    rename,
    replace_link,
    set_directory_access,
    set_file_access,
    temporary_name,
    write_new,
)

_LIMIT = 1 << 20
_PUBLIC_FILE = 0o644
_GROUP_FILE = 0o640
_GROUP_DIRECTORY = 0o750


@dataclass(frozen=True)
class _Access:
    """Mode and group of something new; a group of None is the process's own."""

    mode: int
    group: int | None = None


class Versions:
    """The versions of all certificates below one home directory, and the links to the live ones."""

    def __init__(self, layout: Layout, warn: Callable[[str], None]) -> None:
        self._layout = layout
        self._warn = warn

    def numbers(self, name: str) -> list[int]:
        """Return the numbers in the archive, ascending, whatever state their directories are in."""
        directory = self._layout.versions(name)
        with as_store_error("list", directory):
            try:
                entries = os.listdir(directory)  # noqa: PTH208 - names are all that is wanted
            except FileNotFoundError:
                return []
        return sorted(int(each) for each in entries if re.fullmatch(r"[1-9][0-9]{0,8}", each))

    def live_number(self, name: str) -> int | None:
        """Return the number that the live link names, None where there is no such link."""
        link = self._layout.live(name)
        try:
            target = os.fspath(link.readlink())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreCorrupt(
                f"{link} should be a link to a version, but is none",
                hint=f"mv {link} {link}.old, then `certctl renew {name}`, which makes the link.",
                name=name,
            ) from error
        number = Path(target).name
        if not re.fullmatch(r"[1-9][0-9]{0,8}", number):
            return None
        return int(number) if target == self._layout.live_target(name, int(number)) else None

    def read(self, name: str, number: int) -> Version:
        """Return an archived version. Raises `UnknownCertificate` where there is none of that
        number, `StoreCorrupt` where its `issued.json` makes no sense.
        """
        path = self._layout.version(name, number) / "issued.json"
        fields = read_document(path)
        if fields is None:
            known = ", ".join(str(each) for each in self.numbers(name))
            raise UnknownCertificate(
                f"{name} has no version {number}",
                hint=f"Versions in the archive: {known}." if known else None,
                name=name,
                code="usage.unknown_version",
            )
        version = to_version(fields)
        if (version.name, version.number) != (name, number):
            raise corrupt(str(path), f"it is about {version.name}, version {version.number}")
        return version

    def read_or_warn(self, name: str, number: int) -> Version | None:
        """Return an archived version, or None, with a warning, where it cannot be understood."""
        try:
            return self.read(name, number)
        except (StoreCorrupt, UnknownCertificate) as error:
            self._warn(f"{error.message}. That version counts as missing.")
            return None

    def material(self, name: str, number: int) -> Material:
        """Return the PEM bytes of a version. Raises as `read` does."""
        version = self.read(name, number)
        directory = self._layout.version(name, number)
        return Material(
            cert=read_bounded(directory / "cert.pem", _LIMIT),
            chain=read_bounded(directory / "chain.pem", _LIMIT),
            privkey=read_bounded(directory / "privkey.pem", _LIMIT) if version.has_key else None,
        )

    def add(self, spec: CertificateSpec, version: Version, material: Material) -> None:
        """Write a version under its number, whole or not at all; nothing is live yet.

        Mode and group are what the spec asks for, else what people gave the version before. Raises
        `StoreError`, `ConfigurationError` for an unknown group.
        """
        directory = self._layout.make(self._layout.versions(version.name))
        group, mode = key_group(spec), _key_mode(spec)
        if mode is not None:
            set_directory_access(directory, _directory_mode(mode, group), group)
        model = self._model(version.name)
        temporary = directory / temporary_name("version")
        try:
            with as_store_error("make the directory", temporary):
                temporary.mkdir(PRIVATE_DIRECTORY)
            for filename, data, secret in _files(version, material):
                access = _file_access(model, filename, group, mode, secret=secret)
                write_new(temporary / filename, data, access.mode, access.group)
            access = _directory_access(model, group, mode)
            set_directory_access(temporary, access.mode, access.group)
            rename(temporary, self._layout.version(version.name, version.number))
        except BaseException:
            with suppress(StoreError):
                remove_tree(temporary)
            raise
        fsync_directory(directory.parent)

    def grant(self, spec: CertificateSpec) -> None:
        """Give the versions that there are the mode and the group that the spec asks for; nothing
        happens where it asks for none. Raises as `add`.
        """
        group, mode = key_group(spec), _key_mode(spec)
        if mode is None:
            return
        directories = [self._layout.version(spec.name, each) for each in self.numbers(spec.name)]
        for directory in directories:
            for name in ("privkey.pem", "combined.pem"):
                if (directory / name).exists():
                    set_file_access(directory / name, mode, group)
            for name in ("cert.pem", "chain.pem", "fullchain.pem", "issued.json"):
                set_file_access(directory / name, _PUBLIC_FILE, group)
        # Outermost last: nobody walks in before the keys are as they should be.
        for directory in (*directories, self._layout.versions(spec.name)):
            if directory.is_dir():
                set_directory_access(directory, _directory_mode(mode, group), group)

    def point(self, name: str, number: int) -> None:
        """Make a version live, in one step. Raises `StoreError`."""
        self._layout.make(self._layout.live_links)
        replace_link(self._layout.live(name), self._layout.live_target(name, number))

    def remove(self, name: str, number: int) -> None:
        """Remove a version from the archive, in one step."""
        discard(self._layout.version(name, number))

    def remove_all(self, name: str) -> None:
        """Remove the live link, then every version."""
        remove_file(self._layout.live(name))
        if self._layout.versions(name).is_dir():
            discard(self._layout.versions(name))
            fsync_directory(self._layout.archive)

    def _model(self, name: str) -> Path | None:
        """The directory whose permissions a new version inherits: the live one's, or the newest."""
        number = self.live_number(name) or max(self.numbers(name), default=None)
        return None if number is None else self._layout.version(name, number)


def _files(version: Version, material: Material) -> list[tuple[str, bytes, bool]]:
    """Name, content and secrecy of a version's files."""
    # A PEM block that lacks its last line end would run into the next one.
    whole = Material(
        cert=_line(material.cert),
        chain=_line(material.chain),
        privkey=None if material.privkey is None else _line(material.privkey),
    )
    files = [
        ("cert.pem", whole.cert, False),
        ("chain.pem", whole.chain, False),
        ("fullchain.pem", whole.fullchain, False),
        ("issued.json", encode(from_version(version)), False),
    ]
    if whole.privkey is not None and whole.combined is not None:
        files += [("privkey.pem", whole.privkey, True), ("combined.pem", whole.combined, True)]
    return files


def _line(pem: bytes) -> bytes:
    return pem if not pem or pem.endswith(b"\n") else pem + b"\n"


def _file_access(
    model: Path | None, filename: str, group: int | None, mode: int | None, *, secret: bool
) -> _Access:
    if not secret:
        return _Access(_PUBLIC_FILE, group)
    if mode is not None:
        return _Access(mode, group)
    return _inherited(model and model / filename, PRIVATE_FILE, stat.S_IRGRP)


def _directory_access(model: Path | None, group: int | None, mode: int | None) -> _Access:
    if mode is not None:
        return _Access(_directory_mode(mode, group), group)
    return _inherited(model, PRIVATE_DIRECTORY, stat.S_IRGRP | stat.S_IXGRP)


def _inherited(model: Path | None, mode: int, group_bits: int) -> _Access:
    """What a successor gets: the group and what it may read, never anything for everybody."""
    try:
        facts = None if model is None else model.stat()
    except OSError:
        facts = None
    if facts is None or not facts.st_mode & group_bits:
        return _Access(mode)
    return _Access(mode | facts.st_mode & group_bits, facts.st_gid)


def _key_mode(spec: CertificateSpec) -> int | None:
    """The mode that a spec asks for its keys, None where it asks for none."""
    if spec.key_mode is None and spec.key_group is not None:
        return _GROUP_FILE
    return spec.key_mode


def _directory_mode(key_mode: int, group: int | None) -> int:
    """A directory that whoever may read the keys can look into, and a named group in any case."""
    return _GROUP_DIRECTORY if key_mode & stat.S_IRGRP or group is not None else PRIVATE_DIRECTORY


def key_group(spec: CertificateSpec) -> int | None:
    """Return the number of the group that a spec names. Raises `ConfigurationError`."""
    if spec.key_group is None:
        return None
    try:
        return grp.getgrnam(spec.key_group).gr_gid
    except KeyError:
        raise ConfigurationError(
            f"this machine has no group {spec.key_group!r}, which should read the keys of "
            f"{spec.name}",
            hint=f"groupadd {spec.key_group}, or name another with --key-group.",
            name=spec.name,
        ) from None
