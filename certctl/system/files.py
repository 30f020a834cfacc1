"""Durable and atomic writes of files, directories and links, and checks of their permissions.

A write is complete or has no effect, and it is on disk when the call returns, unless the caller
says that a power failure may undo it (`Sync`). Paths, formats and
locks belong to `certctl.store`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from pathlib import Path

from certctl.model.errors import ConfigurationError, StoreCorrupt, StoreError
from certctl.system import trust

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700
TRAVERSABLE_DIRECTORY = 0o711
"""Others may traverse the directory but not list it: home, `archive` and `live`."""

_TEMPORARY = re.compile(r"\.new-(.*)-[0-9a-f]{8}\Z")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 64 * 1024
"""Bytes per read: the interpreter allocates the whole size, and larger allocations need system
calls of their own.
"""

_HINTS = {
    errno.ENOSPC: "Free some space on that file system and try again. No file was changed.",
    errno.EDQUOT: "Free some of the disk quota and try again. No file was changed.",
    errno.EROFS: "That file system is mounted read-only. Remount it, or use another directory.",
    errno.EACCES: "Run certctl as the owner of that directory (usually root), or use another one.",
    errno.EPERM: "Run certctl as the owner of that directory (usually root), or use another one.",
    errno.EIO: "The disk reports an error; see the kernel log. Run: dmesg",
    errno.EMFILE: "Too many files are open. Raise the limit (ulimit -n).",
}


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


def store_error(verb: str, path: str | os.PathLike[str], error: OSError) -> StoreError:
    """Return the error for a failed system call: `verb` is the operation, such as `write`."""
    cause = error.strerror or str(error)
    return StoreError(
        f"cannot {verb} {os.fspath(path)}: {cause}", hint=_HINTS.get(error.errno or 0)
    )


@contextmanager
def as_store_error(verb: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an `OSError` inside the context into a `StoreError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise store_error(verb, path, error) from error


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


def read_bounded(path: Path, limit: int) -> bytes:
    """Return a file's bytes. Raises `StoreError`; `StoreCorrupt` if there are more than `limit`."""
    with as_store_error("read", path), _open_for_reading(path) as descriptor:
        return _read_all(descriptor, path, limit)


def read_if_exists(path: Path, limit: int) -> bytes | None:
    """Return a file's bytes, or None if it does not exist. Raises as `read_bounded` does."""
    with as_store_error("read", path):
        try:
            with _open_for_reading(path) as descriptor:
                return _read_all(descriptor, path, limit)
        except FileNotFoundError:
            return None


def read_regular(path: Path, limit: int) -> bytes:
    """Return the bytes of a regular file; anything else, such as a pipe, is not waited for.

    Raises OSError, with EINVAL if it is not a regular file, and `StoreCorrupt` if there are more
    than `limit` bytes.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        return _read_all(descriptor, path, limit)
    finally:
        os.close(descriptor)


def read_private(path: Path, limit: int, *, commands: bool = False) -> bytes:
    """Return the bytes of a file that contains a secret; `commands`: it may contain commands too.

    Raises `ConfigurationError` if its group or others may read or write it, or if it may contain
    commands and belongs to another user; `StoreError` if it cannot be read. A pipe is read to its
    end.
    """
    with as_store_error("read", path), _open_for_reading(path, pipes=True) as descriptor:
        facts = os.fstat(descriptor)
        mode = stat.S_IMODE(facts.st_mode)
        if commands:
            trust.refuse(path, facts)
        if mode & 0o077:
            raise ConfigurationError(
                f"{path} contains a secret, but is accessible to other users (mode {mode:04o})",
                hint=f"chmod 600 {path}",
                code="configuration.permissions",
            )
        return _read_all(descriptor, path, limit)


def read_trusted(path: Path, limit: int) -> tuple[bytes, os.stat_result]:
    """Return the bytes of a file that may contain commands, and the status of the file that was
    read.

    The open file is checked, so that an attacker gains nothing by replacing it at that moment.
    Raises `ConfigurationError` if another user could have written it or it is not a regular file,
    FileNotFoundError if it does not exist, `StoreError` if it cannot be read.
    """
    try:
        with _open_for_reading(path) as descriptor:
            facts = os.fstat(descriptor)
            trust.refuse(path, facts)
            return _read_all(descriptor, path, limit), facts
    except StoreCorrupt as error:
        raise ConfigurationError(
            error.message, hint=error.hint, code="configuration.file"
        ) from error
    except FileNotFoundError:
        raise
    except OSError as error:
        raise store_error("read", path, error) from error


def check_trusted(path: Path) -> None:
    """Check that no other user could have written a file, before it is run or read.

    For root, all directories on the path to it are checked too, from `/` down and through every
    link: anyone who can write to one of them can replace the file. Directories with the sticky bit,
    such as /tmp, are accepted, since users cannot replace each other's files there. Raises
    `ConfigurationError` with the path and the command that fixes it, `StoreError` if the file
    cannot be examined.
    """
    with as_store_error("read the status of", path):
        if os.geteuid() != 0:
            trust.refuse(path, path.stat(), sticky=True, lenient=True)
            return
        for step in trust.steps(path.absolute()):
            trust.refuse(step.path, step.facts, sticky=True)


def read_own(path: Path, limit: int) -> bytes | None:
    """Return the bytes of a file that only certctl writes, None if it does not exist.

    Raises `StoreCorrupt` if it is not a regular file, if another user could have written it, or if
    it has more than `limit` bytes, `StoreError` if it cannot be read.
    """
    with as_store_error("read", path):
        try:
            # without O_NONBLOCK, opening a pipe waits for a writer
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise StoreCorrupt(f"{path} is not a regular file", hint="Remove it.")
            try:
                trust.refuse(path, facts)
            except ConfigurationError as error:
                hint = trust.file_hint(path, error)
                raise StoreCorrupt(error.message, hint=hint, code=error.code) from error
            return _read_all(descriptor, path, limit)
        finally:
            os.close(descriptor)


def check_own(path: Path) -> None:
    """Check that no other user could have written a file or directory below the home directory,
    or what it is a link to. What does not exist is accepted.

    Raises `ConfigurationError` with the path and the command that corrects it, `StoreError` if it
    cannot be examined.
    """
    with as_store_error("read the status of", path):
        try:
            facts = path.lstat()
            trust.refuse(path, facts)
            if stat.S_ISLNK(facts.st_mode):
                trust.refuse(path, path.stat())
        except FileNotFoundError:
            return


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


@contextmanager
def _open_for_reading(path: Path, *, pipes: bool = False) -> Iterator[int]:
    """Open a regular file; anything else is refused, since reading it might never end."""
    # without O_NONBLOCK, opening a pipe waits for a writer
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        kind = _kind(os.fstat(descriptor).st_mode)
        if kind is not None and not pipes:
            raise StoreCorrupt(
                f"{path} is not a regular file, but a {kind}",
                hint="Remove it, or put a regular file in its place.",
            )
        if kind is not None:
            os.set_blocking(descriptor, True)
        yield descriptor
    finally:
        os.close(descriptor)


def _kind(mode: int) -> str | None:
    """Return what something is that is not a regular file, None for a regular file."""
    if stat.S_ISREG(mode):
        return None
    kinds = {stat.S_IFDIR: "directory", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")


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
    # 0600 from the start, so that nobody can open a key before its mode is set
    descriptor = os.open(name, _NEW_FILE, PRIVATE_FILE, dir_fd=directory)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        _set_access(descriptor, mode, group, owner)
        if sync is not Sync.NOTHING:
            _sync(descriptor)
    finally:
        os.close(descriptor)


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


def _read_all(descriptor: int, path: Path, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := os.read(descriptor, min(_CHUNK, limit + 1 - size)):
        parts.append(part)
        size += len(part)
        if size > limit:
            raise StoreCorrupt(
                f"{path} is larger than the maximum of {limit} bytes",
                hint="Check that this is the right file.",
            )
    return b"".join(parts)


def _remove_entry(name: str, directory: int) -> None:
    try:
        os.rmdir(name, dir_fd=directory)
    except NotADirectoryError:
        os.unlink(
            name, dir_fd=directory
        )  # fwalk counts a link to a directory among the directories


def _reraise(error: OSError) -> None:
    raise error
