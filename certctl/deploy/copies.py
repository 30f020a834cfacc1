"""Copies of a certificate outside the home directory: all are written to temporary files first,
then renamed one right after the other. If one cannot be, those before it are put back.

`certctl.operations` decides which certificate owns a destination and which version is copied.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import field, replace
from pathlib import Path

from certctl.model.delivery import Delivery, SavedFile
from certctl.model.errors import ConfigurationError, StoreError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import CopyFormat, CopySpec
from certctl.rules import formats
from certctl.rules.copies import READABLE, format_copy, part_of
from certctl.system.destinations import Obstacle, not_replaceable, obstacle
from certctl.system.file_errors import as_store_error
from certctl.system.files import (
    PRIVATE_FILE,
    overwrite,
    remove_file,
    rename,
    temporary_for,
    temporary_name,
    write_new,
)
from certctl.system.reading import read_regular
from certctl.system.secrets import read_secret
from certctl.system.trust import check_trusted
from certctl.system.users import group_id, user_id


@dataclass(frozen=True)
class Staged:
    """A copy that is on disk under a temporary name, or with `in_place` still to be written."""

    temporary: Path
    final: Path
    copy: CopySpec
    data: bytes = field(repr=False)
    in_place: bool = False


@dataclass(frozen=True)
class _Kept:
    """What was at a destination: `backup` has the old file, None if there was none."""

    staged: Staged
    backup: Path | None = None
    content: bytes | None = field(default=None, repr=False)


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

    Raises `ConfigurationError` if its directory is missing or writable by other users, if what is
    there cannot be replaced, or if its owner, group or password file does not exist.
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
    _check_existing(copy, path, name)
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
                copy.format,
                part_of(delivery.version, delivery.material, copy.key),
                name=name,
                password=_password(copy),
                encryption=copy.encryption,
            )
            _clean_up(final)
            in_place = copy.in_place and final.exists()
            temporary = final.with_name(temporary_name(final.name))
            staged.append(Staged(temporary, final, copy, data, in_place))
            if not in_place:
                write_new(temporary, data, _mode(copy), _group(copy), owner=_owner(copy))
    except BaseException:
        discard(staged)
        raise
    return staged


def before(staged: Sequence[Staged]) -> list[SavedFile]:
    """Return what is at the destinations now, for the journal; nothing if all of them are replaced
    by renaming, so that none can be left half-written. Raises `StoreError`.
    """
    if not any(each.in_place for each in staged):
        return []
    return [_saved(each) for each in staged]


def put_back(saved: Sequence[SavedFile]) -> None:
    """Restore files to what they were before an interrupted run changed them. Raises `StoreError`
    if one of them cannot be restored; the others have been.
    """
    problems: list[StoreError] = []
    for each in saved:
        path = Path(each.path)
        temporary = path.with_name(temporary_name(path.name))
        try:
            if _is_unchanged(path, each):
                continue
            if each.content is None:
                remove_file(path)
            elif each.in_place and path.exists():
                overwrite(path, each.content)
            else:
                _clean_up(path)
                write_new(temporary, each.content, each.mode, each.group, owner=each.owner)
                rename(temporary, path)
        except StoreError as error:
            problems.append(error)
            with suppress(StoreError):
                remove_file(temporary)
    if problems:
        raise problems[0]


def _is_unchanged(path: Path, saved: SavedFile) -> bool:
    try:
        return read_regular(path, _LIMIT) == saved.content
    except (OSError, StoreError):
        return False


def commit(staged: Sequence[Staged]) -> None:
    """Make staged copies final, one right after the other. A symbolic link at the destination is
    replaced, not followed.

    If one of them cannot be written, those before it are put back. Raises `StoreError`, and
    `ConfigurationError` if a destination can only be written in place.
    """
    kept: list[_Kept] = []
    done: list[_Kept] = []
    try:
        for each in staged:
            kept.append(_keep(each))  # noqa: PERF401 - those before a failure are needed
        # Those written in place first: with them more can go wrong.
        for old in sorted(kept, key=lambda each: not each.staged.in_place):
            done.append(old)
            _put(old.staged)
    except BaseException as error:
        for old in reversed(done):
            _undo(old, error)
        raise
    finally:
        for old in kept:
            if old.backup is not None:
                with suppress(StoreError):
                    remove_file(old.backup)


def discard(staged: Sequence[Staged]) -> None:
    """Remove staged copies that have not been renamed."""
    for each in staged:
        with suppress(StoreError):
            remove_file(each.temporary)


def _put(staged: Staged) -> None:
    copy = staged.copy
    if not staged.in_place:
        rename(staged.temporary, staged.final)
        return
    mode = copy.mode
    if mode is None:
        # Whatever the old file was, the key is not for everyone, and nobody else may change it.
        others = 0o027 if copy.format.secret else 0o002
        mode = stat.S_IMODE(staged.final.stat().st_mode) & ~others
    overwrite(staged.final, staged.data, mode, _group(copy), owner=_owner(copy))


def _keep(staged: Staged) -> _Kept:
    """Keep what is at a destination, so that it can be put back.

    A second name for the old file fails exactly if it could not be replaced: if it is a mount point
    or immutable. Raises `ConfigurationError` then.
    """
    final = staged.final
    if staged.in_place:
        return _Kept(staged, content=_content(final))
    if not os.path.lexists(final):
        return _Kept(staged)
    backup = final.with_name(temporary_name(final.name))
    try:
        os.link(final, backup, follow_symlinks=False)
    except OSError as error:
        found = obstacle(final)
        if error.errno == errno.EXDEV and found is None:
            found = Obstacle("is a mount point", in_place=True)
        if found is not None:
            raise _cannot_replace(staged.copy, final, found) from error
        return _Kept(staged, _copied(final, backup))  # a file system without hard links
    return _Kept(staged, backup)


def _copied(final: Path, backup: Path) -> Path | None:
    """Copy the old file to `backup`; return None if it may not be read."""
    try:
        if final.is_symlink():
            backup.symlink_to(final.readlink())
        else:
            facts = final.stat()
            mode = stat.S_IMODE(facts.st_mode)
            write_new(backup, _content(final), mode, facts.st_gid, owner=facts.st_uid)
    except (OSError, StoreError):
        return None
    return backup


def _undo(kept: _Kept, cause: BaseException) -> None:
    """Put back what was at a destination. A failure is added to the error that is reported."""
    staged = kept.staged
    try:
        if kept.content is not None:
            overwrite(staged.final, kept.content)
        elif staged.temporary.exists():
            return  # it was not renamed
        elif kept.backup is not None:
            rename(kept.backup, staged.final)
        else:
            remove_file(staged.final)
    except StoreError as error:
        cause.add_note(f"{staged.final} could not be put back: {error.message}")
        if isinstance(cause, StoreError):
            cause.message += f"; {staged.final} could not be put back: {error.message}"


def _saved(staged: Staged) -> SavedFile:
    path = str(staged.final)
    with as_store_error("read", path):
        try:
            facts = staged.final.stat()
        except FileNotFoundError:
            return SavedFile(path)
    mode = stat.S_IMODE(facts.st_mode)
    content = _content(staged.final)
    return SavedFile(path, content, mode, facts.st_uid, facts.st_gid, staged.in_place)


def _content(path: Path) -> bytes:
    with as_store_error("read", path):
        return read_regular(path, _LIMIT)


def _check_existing(copy: CopySpec, path: Path, name: str) -> None:
    """Raise `ConfigurationError` if what is at a destination cannot be replaced or overwritten."""
    kind = not_replaceable(path)
    if kind is not None:
        raise ConfigurationError(
            f"{name} cannot be copied to {path}, which is {kind}",
            hint=f"Choose a regular file: certctl edit {name} --copy {copy.format}:PATH",
            name=name,
            code="deploy.copy",
        )
    found = obstacle(path)
    if copy.in_place and path.exists():
        check_trusted(path.resolve().parent)
        if (found is not None and not found.in_place) or not os.access(path, os.W_OK):
            fixed = found is not None and not found.in_place
            reason = found.reason if found is not None and fixed else "is not writable"
            raise ConfigurationError(
                f"{path} {reason}, so {name} cannot be copied to it",
                hint=f"chattr -i -a {path}"
                if fixed
                else "Mount it writable, or check its permissions and those of its file system.",
                name=name,
                code="deploy.copy",
            )
    elif found is not None:
        raise _cannot_replace(copy, path, found, name)


def _cannot_replace(
    copy: CopySpec, path: Path, found: Obstacle, name: str | None = None
) -> ConfigurationError:
    again = format_copy(replace(copy, in_place=True))
    return ConfigurationError(
        f"{path} {found.reason}, so it cannot be replaced by a new file",
        hint=f"Mount or use its directory instead, or write it in place: --copy {again}"
        if found.in_place
        else f"Make it writable: chattr -i -a {path}",
        name=name,
        code="deploy.copy",
    )


_LIMIT = 1 << 20
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
    found = user_id(copy.owner)
    if found is None:
        raise _not_found("user", copy.owner, "useradd")
    return found


def _group(copy: CopySpec) -> int | None:
    if copy.group is None:
        return None
    found = group_id(copy.group)
    if found is None:
        raise _not_found("group", copy.group, "groupadd")
    return found


def _not_found(kind: str, name: str, command: str) -> ConfigurationError:
    return ConfigurationError(
        f"a copy should belong to {kind} {name!r}, which does not exist on this machine",
        hint=f"Use an existing {kind}, or create it: {command} {name}",
        code="deploy.copy",
    )
