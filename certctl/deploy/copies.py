"""Copies of a certificate outside the home directory: written aside, then renamed back to back.

Whose a destination is, and which version is meant, is decided by operations.
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
    """A copy that is on the disk under a name of its own."""

    temporary: Path
    final: Path


def destination(copy: CopySpec, name: str) -> Path:
    """Return the file that a copy goes to: in a directory it is named after the certificate.

    Raises `ConfigurationError` for a path that is not absolute.
    """
    path = Path(copy.to)
    if not path.is_absolute():
        raise ConfigurationError(
            f"the copy {copy.to} of {name} is no absolute path",
            hint=f"Say where, from / on: certctl edit {name} --copy {copy.format}:/PATH",
            name=name,
            code="deploy.copy",
        )
    if copy.to.endswith("/") or path.is_dir():
        return path / f"{name}{_SUFFIXES.get(copy.format, '.pem')}"
    return path


def check_copy(copy: CopySpec, name: str) -> None:
    """Return where a copy could be written, as far as that can be told without a certificate.

    Raises `ConfigurationError`, for a directory that is not there or that others can write, an
    owner or a group that is not there, or a password that is not there.
    """
    path = destination(copy, name)
    if not path.parent.is_dir():
        raise ConfigurationError(
            f"there is no directory {path.parent} to copy {name} to",
            hint=f"mkdir -p {path.parent}",
            name=name,
            code="deploy.copy",
        )
    check_trusted(path.parent)
    _owner(copy)
    _group(copy)
    _password(copy)


def stage(copies: Sequence[CopySpec], delivery: Delivery) -> list[Staged]:
    """Write all copies of a version aside, in the directories that they are for; none is seen yet.

    What an earlier attempt left aside is removed. Raises `ConfigurationError` and `StoreError`;
    nothing is left then.
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
    """Give staged copies their names, one right after the other. A link is replaced, not followed.
    Raises `StoreError`.
    """
    for each in staged:
        rename(each.temporary, each.final)


def discard(staged: Sequence[Staged]) -> None:
    """Remove staged copies that have not got their names."""
    for each in staged:
        with suppress(StoreError):
            remove_file(each.temporary)


_SUFFIXES = {CopyFormat.PKCS12: ".p12", CopyFormat.DER: ".der"}


def _clean_up(final: Path) -> None:
    """Remove what a run that was killed left aside for a file."""
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
        raise _nobody("user", copy.owner, "useradd") from None


def _group(copy: CopySpec) -> int | None:
    if copy.group is None:
        return None
    try:
        return grp.getgrnam(copy.group).gr_gid
    except KeyError:
        raise _nobody("group", copy.group, "groupadd") from None


def _nobody(kind: str, name: str, command: str) -> ConfigurationError:
    return ConfigurationError(
        f"this machine has no {kind} {name!r}, whose a copy should be",
        hint=f"{command} {name}, or name another.",
        code="deploy.copy",
    )
