"""Versions: written once to `archive/NAME/NUMBER`, never changed, and made live by replacing one
link atomically.

`certctl.store.home.home_records` chooses the number. The caller has checked that key, certificate
and chain match.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from certctl.model.certificate import Material, Version
from certctl.model.errors import (
    ConfigurationError,
    StoreCorrupt,
    StoreError,
    UnknownCertificate,
)
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import FAMILIES, CertificateSpec
from certctl.rules import integrity
from certctl.store.codec import corrupt, to_json
from certctl.store.home import version1
from certctl.store.home.documents import FORMAT, TWO_KEYS, encode, read_record
from certctl.store.home.idle import Signature, file_signature, files_signature
from certctl.store.home.layout import Layout
from certctl.store.home.seen import SeenFiles
from certctl.system.file_errors import as_store_error, store_error
from certctl.system.files import (
    PRIVATE_DIRECTORY,
    PRIVATE_FILE,
    NewFile,
    discard,
    ensure_directory,
    fsync_directory,
    remove_file,
    remove_tree,
    rename,
    replace_link,
    set_directory_access,
    set_file_access,
    temporary_name,
    write_atomic,
    write_new_files,
)
from certctl.system.reading import read_regular
from certctl.system.trust import check_own
from certctl.system.users import group_id, group_name

_LIMIT = 1 << 20
_MOST_KEPT = 500
"""Versions that were written and not deployed yet: more than a batch has."""

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_LOST = frozenset(
    {
        *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO),
        *(errno.EACCES, errno.EPERM, errno.EIO, errno.EINVAL),
    }
)
"""Errors that mean that a file is lost; others, such as too many open files, may pass."""

_PUBLIC_FILE = 0o644
_GROUP_FILE = 0o640
_GROUP_DIRECTORY = 0o750


@dataclass(frozen=True)
class _Access:
    """Mode and group of a new file or directory; None is the group of the process."""

    mode: int
    group: int | None = None


class Versions:
    """The versions of all certificates below one home directory, and the links to the live ones."""

    def __init__(self, layout: Layout, warn: Callable[[str], None]) -> None:
        self._layout = layout
        self._warn = warn
        self._headers = SeenFiles[Version]()
        self._checked: dict[tuple[str, int], tuple[Signature, str | None]] = {}
        self._written: dict[tuple[str, int], tuple[Signature, Material]] = {}

    def numbers(self, name: str) -> list[int]:
        """Return the version numbers in the archive, ascending, without checking their files."""
        directory = self._layout.versions(name)
        with as_store_error("list", directory):
            try:
                entries = os.listdir(directory)  # noqa: PTH208 - only names are needed
            except FileNotFoundError:
                return []
        return sorted(int(each) for each in entries if _NUMBER.fullmatch(each))

    def names_without(self, known: Iterable[str]) -> list[str]:
        """Return the names, other than those that are `known`, that have versions; sorted."""
        with as_store_error("list", self._layout.archive):
            try:
                names = os.listdir(self._layout.archive)  # noqa: PTH208 - only names are needed
            except FileNotFoundError:
                return []
        unknown = set(names).difference(known)
        return sorted(each for each in unknown if not each.startswith(".") and self.numbers(each))

    def live_number(self, name: str) -> int | None:
        """Return the version number that the live link points to, None if there is no such link."""
        link = self._layout.live(name)
        try:
            target = os.readlink(link)  # noqa: PTH115 - a text is enough, thousands of times
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreCorrupt(
                f"{link} must be a link to a version, but is not a symbolic link",
                hint=f"Run `mv {link} {link}.old`, then create the link: certctl renew {name}",
                name=name,
            ) from error
        number = target.rpartition("/")[2]
        if not _NUMBER.fullmatch(number):
            return None
        return int(number) if target == self._layout.live_target(name, int(number)) else None

    def read(self, name: str, number: int) -> Version:
        """Return an archived version. Raises `UnknownCertificate` if there is no such version,
        `StoreCorrupt` if its `issued.json` cannot be parsed, `ConfigurationError` if another user
        could have written it.
        """
        check_own(self._layout.versions(name))
        check_own(self._layout.version(name, number))
        path = self._layout.issued(name, number)
        check_own(path)
        kept = self._headers.get(path, path)
        if kept is not None:
            return kept
        seen = file_signature(path)
        version = read_record(path, Version, version1.issued)
        if version is None:
            known = ", ".join(str(each) for each in self.numbers(name))
            raise UnknownCertificate(
                f"{name} has no version {number}",
                hint=f"Versions in the archive: {known}." if known else None,
                name=name,
                code="usage.unknown_version",
            )
        if not version.certificates:
            raise corrupt(str(path), "certificates must have at least one element")
        if version.second is not None and (
            len(version.certificates) > len(FAMILIES) or version.second.family not in FAMILIES
        ):
            raise corrupt(str(path), "certificates must be at most one ECDSA and one RSA")
        if (version.name, version.number) != (name, number):
            raise corrupt(str(path), f"it describes version {version.number} of {version.name}")
        self._headers.put(path, seen, version)
        return version

    def read_or_warn(self, name: str, number: int) -> Version | None:
        """Return an archived version, or None, with a warning, if it cannot be parsed."""
        try:
            return self.read(name, number)
        except (StoreCorrupt, UnknownCertificate) as error:
            self._warn(f"{error.message}. This version is ignored.")
            return None

    def material(self, name: str, number: int, *, with_key: bool = True) -> Material:
        """Return the PEM bytes of a version, from whichever of its files are intact; the key fits
        the certificate. A missing key is an error only if `with_key`. For its deployment, a version
        that was just written is not read back, unless a file has changed since.

        Raises as `read` does, and `FilesDamaged`.
        """
        version = self._trusted(name, number)
        written = self._written.pop((name, number), None)
        if written is not None and written[0] == self._signature(version):
            return written[1]
        return integrity.require(version, self._check(version), with_key=with_key)

    def damage(self, version: Version, intact: Signature | None) -> str | None:
        """Return what is wrong with the files of a version; None if they are intact.

        `intact` is their signature when they were last found intact by an earlier process: unless
        it differs, they are not read. Raises `StoreError`.
        """
        seen = self._signature(version)
        key = (version.name, version.number)
        if key not in self._checked and seen == intact:
            self._checked[key] = seen, None
        known = self._checked.get(key)
        if known is None or known[0] != seen:
            self._checked[key] = seen, self._check(version).damage
        return self._checked[key][1]

    def intact_signature(self, name: str, number: int) -> Signature | None:
        """Return the signature with which `damage` found the files of a version intact; None if it
        did not.
        """
        known = self._checked.get((name, number))
        return None if known is None or known[1] is not None else known[0]

    def restore(self, name: str, number: int) -> list[str]:
        """Write the damaged files of a version again, from its other files; return their names.

        Raises as `material` does.
        """
        version = self._trusted(name, number)
        known = self.intact_signature(name, number)
        if known is not None and known == self._signature(version):
            return []
        found = self._check(version)
        if not found.problems:
            return []
        second = integrity.second_directory(version)
        files = integrity.contents(integrity.require(version, found), second)
        directory = self._layout.version(name, number)
        self._checked.pop((name, number), None)
        if second is not None and any("/" in each for each in found.problems):
            access = _directory_access(directory, None, None)
            ensure_directory(directory / second, access.mode, access.group)
        for filename in found.problems:
            access = _restored_access(directory, filename)
            write_atomic(directory / filename, files[filename], access.mode, access.group)
        return list(found.problems)

    def _trusted(self, name: str, number: int) -> Version:
        """Return a version, none of whose files another user could have written. Raises
        `ConfigurationError` if one could, and as `read` does.
        """
        version = self.read(name, number)
        directory, second = self._layout.version(name, number), integrity.second_directory(version)
        if second is not None:
            check_own(directory / second)
        for filename in integrity.file_names(version):
            check_own(directory / filename)
        return version

    def _signature(self, version: Version) -> Signature:
        directory = self._layout.version(version.name, version.number)
        return files_signature(directory, two=version.second is not None)

    def _check(self, version: Version) -> integrity.Integrity:
        files: dict[str, bytes | None] = {}
        unreadable: dict[str, str] = {}
        directory = self._layout.version(version.name, version.number)
        for filename in integrity.file_names(version):
            try:
                files[filename] = read_regular(directory / filename, _LIMIT)
            except OSError as error:
                if error.errno not in _LOST:
                    raise store_error("read", directory / filename, error) from error
                if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
                    unreadable[filename] = f"cannot be read ({error.strerror})"
            except StoreCorrupt:
                unreadable[filename] = "is much too large"
        return integrity.check(version, files, unreadable)

    def add(self, spec: CertificateSpec, version: Version, material: Material) -> Version:
        """Write a version to the archive atomically, and return it; it is not live yet.

        Mode and group are those in the spec, or else those of the previous version. Raises
        `StoreError`, `ConfigurationError` for an unknown group, and `FilesDamaged` if key and
        certificate do not belong together.
        """
        version = integrity.described(version, material)
        second = integrity.second_directory(version)
        contents = integrity.contents(material, second)
        checked = integrity.require(version, integrity.check(version, contents))
        directory = self._layout.create_directory(self._layout.versions(version.name))
        group, mode = key_group(spec), _key_mode(spec)
        if mode is not None:
            set_directory_access(directory, _directory_mode(mode, group), group)
        template = self._template(version.name)
        first = not self.numbers(version.name)
        temporary, readers = directory / temporary_name("version"), None
        try:
            files: dict[str, list[NewFile]] = {}
            for filename, data, secret in _files(version, material):
                below, _, own = filename.rpartition("/")
                access = _file_access(template, own, group, mode, secret=secret)
                new = NewFile(own, data, access.mode, access.group)
                files.setdefault(below, []).append(new)
                if secret and mode is None and access.mode & stat.S_IRGRP:
                    readers = group_name(os.getegid() if access.group is None else access.group)
            access = _directory_access(template, group, mode)
            for below, new_files in files.items():
                with as_store_error("create the directory", temporary / below):
                    (temporary / below).mkdir(PRIVATE_DIRECTORY)
                write_new_files(temporary / below, new_files)
            # outermost last: nobody can enter before all of it is there
            for below in reversed(files):
                set_directory_access(temporary / below, access.mode, access.group)
            rename(temporary, self._layout.version(version.name, version.number))
        except BaseException:
            with suppress(StoreError):
                remove_tree(temporary)
            raise
        if first:
            # its directory may be new, and left unsynced by a process that was killed
            fsync_directory(directory.parent)
        header = self._layout.issued(version.name, version.number)
        self._headers.put(header, file_signature(header), version)
        written = self._signature(version)
        self._checked[version.name, version.number] = written, None
        if len(self._written) >= _MOST_KEPT:
            self._written.clear()
        self._written[version.name, version.number] = written, checked
        if readers is not None:
            self._warn_of_readers(spec.name, readers)
        return version

    def _warn_of_readers(self, name: str, group: str) -> None:
        """Warn of a new key that a group can read because somebody let it read the last one."""
        live = self._layout.live(name)
        self._warn(
            f"the group {group} can read the new private key of {name}, as it could read the one"
            f" before it. To keep that, run: certctl edit {name} --key-group {group}. To end it,"
            f" run: chmod g= {live}/privkey.pem {live}/combined.pem"
        )

    def set_access(self, spec: CertificateSpec) -> None:
        """Set the mode and the group in the spec for all existing versions. Does nothing if the
        spec has neither. Raises as `add` does.
        """
        group, mode = key_group(spec), _key_mode(spec)
        if mode is None:
            return
        found = [self._layout.version(spec.name, each) for each in self.numbers(spec.name)]
        below = [each / family for each in found for family in FAMILIES]
        directories = [*(each for each in below if each.is_dir()), *found]
        for directory in directories:
            for name in integrity.KEY_FILES:
                if (directory / name).exists():
                    set_file_access(directory / name, mode, group)
            for name in integrity.CERTIFICATE_FILES:
                set_file_access(directory / name, _PUBLIC_FILE, group)
        for directory in found:
            set_file_access(directory / "issued.json", _PUBLIC_FILE, group)
        # Outermost last: nobody can enter before the keys have the right permissions.
        for directory in (*directories, self._layout.versions(spec.name)):
            if directory.is_dir():
                set_directory_access(directory, _directory_mode(mode, group), group)

    def check_links(self, name: str) -> None:
        """Check that a link can be created and replaced where the live links are; does nothing if
        this certificate has one. Raises `ConfigurationError` if the file system has no links.
        """
        if self._layout.live(name).is_symlink():
            return
        directory = self._layout.create_directory(self._layout.live_links)
        link = directory / temporary_name(name)
        try:
            link.symlink_to(self._layout.live_target(name, 1))
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}:
                raise store_error("create a link in", directory, error) from error
            raise ConfigurationError(
                f"the file system of {self._layout.home} does not support symbolic links, which"
                f" certctl needs for the live versions: {error.strerror}",
                hint="Choose a home directory on another file system: --home DIR",
                name=name,
                code="configuration.home",
            ) from error
        remove_file(link)

    def make_live(self, name: str, number: int) -> None:
        """Make a version live atomically. Raises `StoreError`."""
        self._layout.create_directory(self._layout.live_links)
        replace_link(self._layout.live(name), self._layout.live_target(name, number))

    def remove(self, name: str, number: int) -> None:
        """Remove a version from the archive atomically."""
        discard(self._layout.version(name, number))

    def remove_live(self, name: str) -> None:
        """Remove the live link."""
        remove_file(self._layout.live(name))

    def remove_all(self, name: str) -> None:
        """Remove the live link, then every version."""
        self.remove_live(name)
        if self._layout.versions(name).is_dir():
            discard(self._layout.versions(name))
            fsync_directory(self._layout.archive)

    def _template(self, name: str) -> Path | None:
        """Return the directory whose permissions a new version inherits: the live or newest one."""
        number = self.live_number(name) or max(self.numbers(name), default=None)
        return None if number is None else self._layout.version(name, number)


def _files(version: Version, material: Material) -> list[tuple[str, bytes, bool]]:
    """Return the files of a version: name, content, and whether it is secret."""
    second = integrity.second_directory(version)
    header = encode(to_json(version), FORMAT if second is None else TWO_KEYS)
    files = integrity.contents(_newline_terminated_material(material), second)
    return [
        ("issued.json", header, False),
        *((filename, data, integrity.is_secret(filename)) for filename, data in files.items()),
    ]


def _newline_terminated_material(material: Material) -> Material:
    """Return the material so that no PEM block runs into the next one."""
    return Material(
        cert=_newline_terminated(material.cert),
        chain=_newline_terminated(material.chain),
        privkey=None if material.privkey is None else _newline_terminated(material.privkey),
        second=material.second and _newline_terminated_material(material.second),
    )


def _newline_terminated(pem: bytes) -> bytes:
    return pem if not pem or pem.endswith(b"\n") else pem + b"\n"


def _restored_access(directory: Path, filename: str) -> _Access:
    """Return the access of a damaged file, or if it is missing, that of the other file with the
    key.
    """
    if not integrity.is_secret(filename):
        return _inherited(directory, _PUBLIC_FILE, 0)
    for each in (filename, *integrity.KEY_FILES):
        if (directory / each).is_file():
            return _inherited(directory / each, PRIVATE_FILE, stat.S_IRGRP)
    return _inherited(directory, PRIVATE_FILE, stat.S_IRGRP)


def _file_access(
    template: Path | None, filename: str, group: int | None, mode: int | None, *, secret: bool
) -> _Access:
    if not secret:
        return _Access(_PUBLIC_FILE, group)
    if mode is not None:
        return _Access(mode, group)
    return _inherited(template and template / filename, PRIVATE_FILE, stat.S_IRGRP)


def _directory_access(template: Path | None, group: int | None, mode: int | None) -> _Access:
    if mode is not None:
        return _Access(_directory_mode(mode, group), group)
    return _inherited(template, PRIVATE_DIRECTORY, stat.S_IRGRP | stat.S_IXGRP)


def _inherited(template: Path | None, mode: int, group_bits: int) -> _Access:
    """Return the inherited access: group and its read permission, never anything for others."""
    try:
        facts = None if template is None else template.stat()
    except OSError:
        facts = None
    if facts is None or not facts.st_mode & group_bits:
        return _Access(mode)
    return _Access(mode | facts.st_mode & group_bits, facts.st_gid)


def _key_mode(spec: CertificateSpec) -> int | None:
    """Return the mode of the keys in a spec, None if it has neither a mode nor a group."""
    if spec.key_mode is None and spec.key_group is not None:
        return _GROUP_FILE
    return spec.key_mode


def _directory_mode(key_mode: int, group: int | None) -> int:
    """Return a directory mode: a group gets access if it may read the keys or is in the spec."""
    return _GROUP_DIRECTORY if key_mode & stat.S_IRGRP or group is not None else PRIVATE_DIRECTORY


def key_group(spec: CertificateSpec) -> int | None:
    """Return the id of the group in a spec, None without one. Raises `ConfigurationError`."""
    if spec.key_group is None:
        return None
    found = group_id(spec.key_group)
    if found is None:
        raise ConfigurationError(
            f"group {spec.key_group!r} (key group of {spec.name}) does not exist on this machine",
            hint=f"Choose another group with --key-group, or run: groupadd {spec.key_group}",
            name=spec.name,
        )
    return found
