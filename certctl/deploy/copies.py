"""Copies of a certificate outside the home directory: all are written to temporary files first,
then renamed one right after the other.

`certctl.operations` decides which certificate owns a destination and which version is copied.
"""

from __future__ import annotations

import grp
import pwd
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from certctl import formats
from certctl.copies import READABLE
from certctl.errors import ConfigurationError, StoreError
from certctl.models import CopyFormat, CopySpec, Delivery
from certctl.system.files import (
    PRIVATE_FILE,
    check_trusted,
    remove_file,
    rename,
    temporary_for,
    temporary_name,
    write_new,
)
from certctl.system.secrets import read_secret


@dataclass(frozen=True)
class Staged:
    """A copy that is on disk under a temporary name."""

    temporary: Path
    final: Path


def destination(copy: CopySpec, name: str) -> Path:
    """Return the path of a copy. In a directory the file is named after the certificate.

    Raises `ConfigurationError` if the path is not absolute.
    """
    path = Path(copy.to)
    if not path.is_absolute():
        raise ConfigurationError(
            f"the copy of {name} to {copy.to} needs an absolute path",
            hint=f"Change it: certctl edit {name} --copy {copy.format}:/PATH",
            name=name,
            code="deploy.copy",
        )
    if copy.to.endswith("/") or path.is_dir():
        return path / f"{name}{_SUFFIXES.get(copy.format, '.pem')}"
    return path


def check_copy(copy: CopySpec, name: str) -> None:
    """Check as much of a copy as is possible without a certificate.

    Raises `ConfigurationError` if its directory is missing or writable by other users, or if its
    owner, group or password file does not exist.
    """
    path = destination(copy, name)
    if not path.parent.is_dir():
        raise ConfigurationError(
            f"{name} cannot be copied to {path}: the directory {path.parent} does not exist",
            hint=f"Create it: mkdir -p {path.parent}",
            name=name,
            code="deploy.copy",
        )
    check_trusted(path.parent)
    _owner(copy)
    _group(copy)
    _password(copy)


def stage(copies: Sequence[CopySpec], delivery: Delivery) -> list[Staged]:
    """Write all copies of a version to temporary files in their final directories.

    Temporary files left by an earlier attempt are removed. Raises `ConfigurationError` and
    `StoreError`, in which case all temporary files have been removed.
    """
    name, staged = delivery.version.name, list[Staged]()
    try:
        for copy in copies:
            check_copy(copy, name)
            final = destination(copy, name)
            data = formats.contents(
                copy.format, delivery.material, name=name, password=_password(copy)
            )
            _clean_up(final)
            temporary = final.with_name(temporary_name(final.name))
            staged.append(Staged(temporary, final))
            write_new(temporary, data, _mode(copy), _group(copy), owner=_owner(copy))
    except BaseException:
        discard(staged)
        raise
    return staged


def commit(staged: Sequence[Staged]) -> None:
    """Rename staged copies to their final names, one right after the other. A symbolic link at the
    destination is replaced, not followed. Raises `StoreError`.
    """
    for each in staged:
        rename(each.temporary, each.final)


def discard(staged: Sequence[Staged]) -> None:
    """Remove staged copies that have not been renamed."""
    for each in staged:
        with suppress(StoreError):
            remove_file(each.temporary)


_SUFFIXES = {CopyFormat.PKCS12: ".p12", CopyFormat.DER: ".der"}


def _clean_up(final: Path) -> None:
    """Remove temporary files that a killed run left for a destination."""
    for each in final.parent.glob(".new-*"):
        if temporary_for(each.name) == final.name[:200]:
            remove_file(each)


def _mode(copy: CopySpec) -> int:
    if copy.mode is not None:
        return copy.mode
    return PRIVATE_FILE if copy.format.secret else PRIVATE_FILE | READABLE


def _password(copy: CopySpec) -> str | None:
    return None if copy.password_file is None else read_secret(Path(copy.password_file))


def _owner(copy: CopySpec) -> int | None:
    if copy.owner is None:
        return None
    try:
        return pwd.getpwnam(copy.owner).pw_uid
    except KeyError:
        raise _not_found("user", copy.owner, "useradd") from None


def _group(copy: CopySpec) -> int | None:
    if copy.group is None:
        return None
    try:
        return grp.getgrnam(copy.group).gr_gid
    except KeyError:
        raise _not_found("group", copy.group, "groupadd") from None


def _not_found(kind: str, name: str, command: str) -> ConfigurationError:
    return ConfigurationError(
        f"a copy should belong to {kind} {name!r}, which does not exist on this machine",
        hint=f"Use an existing {kind}, or create it: {command} {name}",
        code="deploy.copy",
    )
