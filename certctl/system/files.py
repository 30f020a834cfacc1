"""Durable and atomic changes of files, directories and links, with their permissions.

A write is complete or has no effect, and it is on disk when the call returns, unless the caller
says that a power failure may undo it (`Sync`). Reading is in `reading`. Paths, formats
and locks belong to `certctl.store`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import field
from enum import IntEnum
from pathlib import Path

from certctl.model.lazy_dataclass import dataclass
from certctl.system.file_errors import as_store_error

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700
TRAVERSABLE_DIRECTORY = 0o711
"""Others may traverse the directory but not list it: home, `archive` and `live`."""

_TEMPORARY = re.compile(r"\.new-(.*)-[0-9a-f]{8}\Z")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Sync(IntEnum):
    """What is on disk when a write returns, and so what a power failure can undo.

    A killed process loses nothing in any case: what was written is read back.
    """

    NOTHING = 0
    """The file may be empty or have its old bytes: for what can be lost without harm."""

    CONTENT = 1
    """The file has its old bytes or the new ones: for what is found out or done again."""

    ALL = 2
    """The file has the new bytes."""


def temporary_name(name: str) -> str:
    """Return a unique name for a file that will be renamed to `name` in the same directory."""
    return f".new-{name[:200]}-{os.urandom(4).hex()}"


def temporary_for(name: str) -> str | None:
    """Return the final name for a temporary name; None if it is not a temporary name."""
    found = _TEMPORARY.match(name)
    return None if found is None else found[1]


def write_atomic(
    path: Path,
    data: bytes,
    mode: int = PRIVATE_FILE,
    group: int | None = None,
    *,
    sync: Sync = Sync.ALL,
) -> None:
    """Replace or create the file at `path` atomically: a reader sees the old or the new bytes.

    The bytes are written and synced under a temporary name, which is then renamed. A symbolic link
    at `path` is replaced, not followed; a device or a pipe is never replaced. Mode and group do not
    depend on the umask. Raises `StoreError`.
    """
    with as_store_error("write", path), open_directory(path.parent) as directory:
        _refuse_special(path.name, directory)
        temporary = temporary_name(path.name)
        try:
            _write_new(temporary, data, mode, group, directory, sync=sync)
            os.rename(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=directory)
            raise
        if sync is Sync.ALL:
            _sync(directory)


def write_new(
    path: Path,
    data: bytes,
    mode: int = PRIVATE_FILE,
    group: int | None = None,
    *,
    owner: int | None = None,
) -> None:
    """Write a file that must not exist yet. Its bytes are synced, its directory is not.

    For files in a temporary directory or with a temporary name. Raises `StoreError`.
    """
    with as_store_error("write", path), open_directory(path.parent) as directory:
        _write_new(path.name, data, mode, group, directory, owner)


@dataclass(frozen=True)
class NewFile:
    """A file that must not exist yet: name, contents, mode and group."""

    name: str
    data: bytes = field(repr=False)
    mode: int = PRIVATE_FILE
    group: int | None = None


def write_new_files(directory: Path, files: Sequence[NewFile]) -> None:
    """Write files into a temporary directory. Their bytes are synced, the directory is not.

    All are written before the first one is waited for, so that the disk has them at once, and one
    entry in the journal of the file system for all. Raises `StoreError`.
    """
    with ExitStack() as opened:
        with as_store_error("write", directory):
            parent = opened.enter_context(open_directory(directory))
        written: list[tuple[NewFile, int]] = []
        for each in files:
            with as_store_error("write", directory / each.name):
                descriptor = _created(each.name, each.data, parent)
                opened.callback(os.close, descriptor)
                _set_access(descriptor, each.mode, each.group)
                _begin_sync(descriptor)
            written.append((each, descriptor))
        for each, descriptor in written:
            with as_store_error("write", directory / each.name):
                _sync(descriptor)


def overwrite(
    path: Path,
    data: bytes,
    mode: int | None = None,
    group: int | None = None,
    *,
    owner: int | None = None,
) -> None:
    """Write other contents into an existing regular file, and sync it. Not atomic: a reader may see
    a mixture, and so does everyone after a crash. Links are followed.

    Mode, group and owner change only if given. Raises `StoreError`.
    """
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
    with as_store_error("write", path):
        descriptor = os.open(path, flags)
        try:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
            if mode is not None or group is not None or owner is not None:
                kept = stat.S_IMODE(facts.st_mode)
                _set_access(descriptor, kept if mode is None else mode, group, owner)
            if len(data) > facts.st_size and hasattr(os, "posix_fallocate"):
                _reserve(descriptor, len(data))
            written = 0
            while written < len(data):
                written += os.pwrite(descriptor, data[written:], written)
            os.ftruncate(descriptor, len(data))
            _sync(descriptor)
        finally:
            os.close(descriptor)


def _reserve(descriptor: int, size: int) -> None:
    """Allocate space before anything is overwritten, so that a full disk changes nothing."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.ENODEV}:
            raise


def replace_contents(path: Path, data: bytes) -> None:
    """Replace the contents of somebody else's file atomically and durably. Owner, group, mode,
    access control list and security label stay. A symbolic link is followed, and stays too.

    The temporary file is hidden, so that no pattern such as `sites-enabled/*` finds it. Raises
    `StoreError`.
    """
    with as_store_error("write", path):
        real = Path(os.path.realpath(path, strict=True))
        with open_directory(real.parent) as directory:
            _refuse_special(real.name, directory)
            before = os.stat(real.name, dir_fd=directory, follow_symlinks=False)
            temporary = temporary_name(real.name)
            try:
                mode = stat.S_IMODE(before.st_mode)
                _write_new(temporary, data, mode, before.st_gid, directory, before.st_uid)
                _copy_attributes(real, real.with_name(temporary))
                os.rename(temporary, real.name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=directory)
                raise
            _sync(directory)


def remove_unfinished(path: Path) -> None:
    """Remove the temporary files that killed calls of `replace_contents` left. Raises `StoreError`.

    No other process may be replacing the file.
    """
    real = Path(os.path.realpath(path))
    with as_store_error("list", real.parent):
        names = os.listdir(real.parent)  # noqa: PTH208 - only names are needed
    for name in names:
        if temporary_for(name) == real.name[:200]:
            remove_file(real.with_name(name))


def _copy_attributes(source: Path, target: Path) -> None:
    """Copy extended attributes, such as an access control list, if the file system has any."""
    if sys.platform != "linux":
        return
    try:
        names = os.listxattr(source, follow_symlinks=False)
    except OSError:
        return
    for name in names:
        try:
            value = os.getxattr(source, name, follow_symlinks=False)
            os.setxattr(target, name, value, follow_symlinks=False)
        except OSError as error:
            if error.errno not in {errno.ENODATA, errno.ENOTSUP, errno.EPERM, errno.EACCES}:
                raise


def ensure_directory(path: Path, mode: int = PRIVATE_DIRECTORY, group: int | None = None) -> None:
    """Create a directory durably, regardless of the umask. Missing parents are created so that
    others can traverse them: a home directory that is created for a private directory in it must
    let a key group through.

    An existing directory keeps its mode and group. Raises `StoreError`.
    """
    with as_store_error("create the directory", path):
        if path.is_dir():
            return
        ensure_directory(path.parent, TRAVERSABLE_DIRECTORY)
        try:
            path.mkdir(mode if group is None else PRIVATE_DIRECTORY)
        except FileExistsError:
            if path.is_dir():
                return
            raise
        set_directory_access(path, mode, group)
        fsync_directory(path.parent)


def set_directory_access(path: Path, mode: int, group: int | None = None) -> None:
    """Set a directory's mode, and its group if given, and sync it. Raises `StoreError`."""
    with as_store_error("set the permissions of", path), open_directory(path) as directory:
        _set_access(directory, mode, group)
        _sync(directory)


def set_file_access(path: Path, mode: int, group: int | None = None) -> None:
    """Set a file's mode, and its group if given; a link is not followed. Raises `StoreError`."""
    with as_store_error("set the permissions of", path):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _set_access(descriptor, mode, group)
        finally:
            os.close(descriptor)


def fsync_directory(path: Path) -> None:
    """Sync a directory, so that the names in it are on disk. Raises `StoreError`."""
    with as_store_error("sync", path), open_directory(path) as directory:
        _sync(directory)


def rename(source: Path, target: Path, *, sync: Sync = Sync.ALL) -> None:
    """Rename a file or directory within its directory, durably. Raises `StoreError`."""
    with as_store_error("rename to", target), open_directory(target.parent) as directory:
        os.rename(source.name, target.name, src_dir_fd=directory, dst_dir_fd=directory)
        if sync is Sync.ALL:
            _sync(directory)


def replace_link(link: Path, target: str) -> None:
    """Create or replace the symbolic link `link` atomically and durably; it points to `target`.

    The link exists at all times. Raises `StoreError`, also if `link` exists and is not a link.
    """
    with as_store_error("replace the link", link), open_directory(link.parent) as directory:
        temporary = temporary_name(link.name)
        try:
            os.symlink(target, temporary, dir_fd=directory)
            if not link.is_symlink() and link.exists():
                raise FileExistsError(errno.EEXIST, "it exists and is not a symbolic link")
            os.rename(temporary, link.name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=directory)
            raise
        _sync(directory)


def remove_file(path: Path, *, sync: Sync = Sync.ALL) -> None:
    """Remove a file or a link durably, if it exists. Raises `StoreError`."""
    with as_store_error("remove", path):
        try:
            path.unlink()
        except FileNotFoundError:
            return
        if sync is Sync.ALL:
            fsync_directory(path.parent)


def remove_tree(path: Path) -> None:
    """Remove a directory and its contents, or a single file; links are removed, never followed.

    Does nothing if `path` does not exist. Not atomic, unlike `discard`. Raises `StoreError`.
    """
    with as_store_error("remove", path):
        try:
            facts = path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(facts.st_mode):
            path.unlink(missing_ok=True)
            return
        # fwalk compares what it opened with what it listed: a directory that has been replaced by a
        # link in the meantime is not entered.
        for _, directories, files, directory in os.fwalk(path, topdown=False, onerror=_reraise):
            for name in files:
                os.unlink(name, dir_fd=directory)
            for name in directories:
                _remove_entry(name, directory)
        path.rmdir()


def discard(path: Path, *, sync: Sync = Sync.ALL) -> None:
    """Rename a directory so that it disappears atomically, then remove it. Raises `StoreError`."""
    renamed = path.with_name(temporary_name(path.name))
    with as_store_error("remove", path):
        try:
            path.lstat()
        except FileNotFoundError:
            return
        rename(path, renamed, sync=sync)
        remove_tree(renamed)


@contextmanager
def open_directory(path: Path) -> Iterator[int]:
    """Open a directory and yield its descriptor, so that renaming it or a parent in the meantime
    has no effect. Raises OSError.
    """
    descriptor = os.open(path, _DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_new(
    name: str,
    data: bytes,
    mode: int,
    group: int | None,
    directory: int,
    owner: int | None = None,
    *,
    sync: Sync = Sync.ALL,
) -> None:
    descriptor = _created(name, data, directory)
    try:
        _set_access(descriptor, mode, group, owner)
        if sync is not Sync.NOTHING:
            _sync(descriptor)
    finally:
        os.close(descriptor)


def _created(name: str, data: bytes, directory: int) -> int:
    """Create a file with these bytes; return its descriptor, for the caller to close."""
    # 0600 from the start, so that nobody can open a key before its mode is set
    descriptor = os.open(name, _NEW_FILE, PRIVATE_FILE, dir_fd=directory)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _refuse_special(name: str, directory: int) -> None:
    """Raise OSError if a device, a pipe or a socket is there."""
    try:
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EEXIST, "it exists and is not a regular file")


def _set_access(descriptor: int, mode: int, group: int | None, owner: int | None = None) -> None:
    # the group first: otherwise the wrong group could read the file for a moment
    facts = os.fstat(descriptor)
    if group is not None and facts.st_gid != group:
        os.fchown(descriptor, -1, group)
    os.fchmod(descriptor, mode)
    # the owner last: after that, only root may change the mode
    if owner is not None and facts.st_uid != owner:
        os.fchown(descriptor, owner, -1)


def _begin_sync(descriptor: int) -> None:
    """Have the kernel begin to write a file to the disk, if it can be asked to; what it does or
    reports is left to the sync that follows.
    """
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _sync(descriptor: int) -> None:
    try:
        if sys.platform == "darwin":
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync alone stops at the drive's cache
        else:
            os.fsync(descriptor)
    except OSError as error:
        # reported by file systems that cannot sync directories
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise


def _remove_entry(name: str, directory: int) -> None:
    try:
        os.rmdir(name, dir_fd=directory)
    except NotADirectoryError:
        os.unlink(
            name, dir_fd=directory
        )  # fwalk counts a link to a directory among the directories


def _reraise(error: OSError) -> None:
    raise error
