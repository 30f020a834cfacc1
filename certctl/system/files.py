"""Files that survive a crash: durable writes, directories, links, and who may read or write them.

A write is whole or absent, and on the disk when the call returns. Nothing here knows what the
files are for: paths, formats and locks belong to `certctl.store`.
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
from pathlib import Path

from certctl.errors import ConfigurationError, StoreCorrupt, StoreError

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700

_TEMPORARY = re.compile(r"\.new-(.*)-[0-9a-f]{8}\Z")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 64 * 1024
"""Bytes read at a time: the interpreter sets aside as much as is asked for, and from here on that
costs system calls of its own.
"""

_MOST_LINKS = 40

_HINTS = {
    errno.ENOSPC: "Free some space on that file system and repeat; what was there is untouched.",
    errno.EDQUOT: "Free some of the disk quota and repeat; what was there is untouched.",
    errno.EROFS: "That file system is mounted read-only: remount it, or use another directory.",
    errno.EACCES: "Run certctl as the owner of that directory (usually root), or use another one.",
    errno.EPERM: "Run certctl as the owner of that directory (usually root), or use another one.",
    errno.EIO: "The disk reports an error: see the kernel's log (dmesg).",
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n).",
}


def store_error(verb: str, path: str | os.PathLike[str], error: OSError) -> StoreError:
    """Return the error for a system call that failed: what was tried, where, why, and what
    helps.
    """
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
    """Return a name, never given out before, for what will be renamed to `name` in the same
    directory.
    """
    return f".new-{name[:200]}-{os.urandom(4).hex()}"


def temporary_for(name: str) -> str | None:
    """Return which name a temporary name was made for; None where it is no temporary name."""
    found = _TEMPORARY.match(name)
    return None if found is None else found[1]


def write_atomic(
    path: Path, data: bytes, mode: int = PRIVATE_FILE, group: int | None = None
) -> None:
    """Replace the file at `path`, or make it: a reader sees the old bytes or the new ones.

    The bytes are on the disk under a name of their own before they get this one. A symbolic link
    at `path` is replaced, not followed; mode and group are set whatever the umask says. Raises
    `StoreError`.
    """
    with as_store_error("write", path), open_directory(path.parent) as directory:
        temporary = temporary_name(path.name)
        try:
            _write_new(temporary, data, mode, group, directory)
            os.rename(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=directory)
            raise
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

    For files inside a directory, or under a name, that is not final yet. Raises `StoreError`.
    """
    with as_store_error("write", path), open_directory(path.parent) as directory:
        _write_new(path.name, data, mode, group, directory, owner)


def ensure_directory(path: Path, mode: int = PRIVATE_DIRECTORY, group: int | None = None) -> None:
    """Make a directory, and the ones above it that are missing, durably and whatever the umask
    says.

    One that is there keeps the mode and group that it has. Raises `StoreError`.
    """
    with as_store_error("make the directory", path):
        if path.is_dir():
            return
        ensure_directory(path.parent, mode)
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
        _give(directory, mode, group)
        _sync(directory)


def set_file_access(path: Path, mode: int, group: int | None = None) -> None:
    """Set a file's mode, and its group where one is given; a link is not followed. Raises
    `StoreError`.
    """
    with as_store_error("set the permissions of", path):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _give(descriptor, mode, group)
        finally:
            os.close(descriptor)


def fsync_directory(path: Path) -> None:
    """Return once the names in a directory are on the disk. Raises `StoreError`."""
    with as_store_error("sync", path), open_directory(path) as directory:
        _sync(directory)


def rename(source: Path, target: Path) -> None:
    """Give something its final name in the same directory, durably. Raises `StoreError`."""
    with as_store_error("rename to", target), open_directory(target.parent) as directory:
        os.rename(source.name, target.name, src_dir_fd=directory, dst_dir_fd=directory)
        _sync(directory)


def replace_link(link: Path, target: str) -> None:
    """Make the symbolic link `link` point to `target`, in one rename, durably.

    There is no moment without the link. Raises `StoreError`, also where something that is no link
    stands at `link`.
    """
    with as_store_error("point the link", link), open_directory(link.parent) as directory:
        temporary = temporary_name(link.name)
        try:
            os.symlink(target, temporary, dir_fd=directory)
            if not link.is_symlink() and link.exists():
                raise FileExistsError(errno.EEXIST, "something that is no link stands there")
            os.rename(temporary, link.name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=directory)
            raise
        _sync(directory)


def remove_file(path: Path) -> None:
    """Remove a file or a link, durably; nothing happens where there is none. Raises
    `StoreError`.
    """
    with as_store_error("remove", path):
        try:
            path.unlink()
        except FileNotFoundError:
            return
        fsync_directory(path.parent)


def remove_tree(path: Path) -> None:
    """Remove a directory with all it holds, or a single file; links are removed, never followed.

    Nothing happens where there is nothing. Not atomic: `discard` is. Raises `StoreError`.
    """
    with as_store_error("remove", path):
        try:
            facts = path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(facts.st_mode):
            path.unlink(missing_ok=True)
            return
        # fwalk compares what it opened with what it saw: a directory that is swapped for a link
        # meanwhile is not entered.
        for _, directories, files, directory in os.fwalk(path, topdown=False, onerror=_raise):
            for name in files:
                os.unlink(name, dir_fd=directory)
            for name in directories:
                _remove_entry(name, directory)
        path.rmdir()


def discard(path: Path) -> None:
    """Remove a directory in one step for whoever looks at it, then its contents. Raises
    `StoreError`.
    """
    aside = path.with_name(temporary_name(path.name))
    with as_store_error("remove", path):
        try:
            path.lstat()
        except FileNotFoundError:
            return
        rename(path, aside)
        remove_tree(aside)


def read_bounded(path: Path, limit: int) -> bytes:
    """Return a file's bytes. Raises `StoreError`; `StoreCorrupt` for more than `limit` bytes."""
    with as_store_error("read", path), _reading(path) as descriptor:
        return _all_of(descriptor, path, limit)


def read_if_exists(path: Path, limit: int) -> bytes | None:
    """Return a file's bytes, or None where there is no such file. Raises as `read_bounded`."""
    with as_store_error("read", path):
        try:
            with _reading(path) as descriptor:
                return _all_of(descriptor, path, limit)
        except FileNotFoundError:
            return None


def read_private(path: Path, limit: int) -> bytes:
    """Return the bytes of a file that holds a secret.

    Raises `ConfigurationError` where its group or everybody may read or write it, `StoreError`
    where it cannot be read. A pipe is read to its end.
    """
    with as_store_error("read", path), _reading(path) as descriptor:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & 0o077:
            raise ConfigurationError(
                f"{path} holds a secret, and others can read it (its mode is {mode:04o})",
                hint=f"chmod 600 {path}",
                code="configuration.permissions",
            )
        return _all_of(descriptor, path, limit)


def read_trusted(path: Path, limit: int) -> tuple[bytes, os.stat_result]:
    """Return the bytes of a file that may hold commands, and the facts of the very file read.

    The file that was opened is judged, so that swapping it at the same moment gains nothing.
    Raises `ConfigurationError` where somebody else could have written it, FileNotFoundError where
    there is none, `StoreError` where it cannot be read.
    """
    try:
        with _reading(path) as descriptor:
            facts = os.fstat(descriptor)
            _refuse_foreign(path, facts)
            return _all_of(descriptor, path, limit), facts
    except FileNotFoundError:
        raise
    except OSError as error:
        raise store_error("read", path, error) from error


def check_trusted(path: Path) -> None:
    """Refuse what somebody else could have written, before it is run or believed.

    For root the way to it counts as well, from `/` down and through every link: who can write a
    directory on it can put another file there. Directories like /tmp, where others cannot touch
    what is not theirs, pass. Raises `ConfigurationError` naming the path and the remedy,
    `StoreError` where it cannot be looked at.
    """
    with as_store_error("look at", path):
        if os.geteuid() != 0:
            _refuse_foreign(path, path.stat())
            return
        here = Path("/")
        _refuse_foreign(here, here.lstat())
        steps = list(reversed(path.absolute().parts[1:]))
        links = 0
        while steps:
            step = steps.pop()
            here = here.parent if step == ".." else here / step
            facts = here.lstat()
            _refuse_foreign(here, facts)
            if stat.S_ISLNK(facts.st_mode):
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                target = here.readlink()
                here = Path("/") if target.is_absolute() else here.parent
                steps.extend(part for part in reversed(target.parts) if part != "/")


@contextmanager
def open_directory(path: Path) -> Iterator[int]:
    """Hold a directory open, so that a rename of it or above it meanwhile changes nothing; gives
    its descriptor. Raises OSError.
    """
    descriptor = os.open(path, _DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _reading(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_new(
    name: str, data: bytes, mode: int, group: int | None, directory: int, owner: int | None = None
) -> None:
    # 0600 from the start: no moment in which somebody could open a key that is about to be private
    descriptor = os.open(name, _NEW_FILE, PRIVATE_FILE, dir_fd=directory)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        _give(descriptor, mode, group, owner)
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _give(descriptor: int, mode: int, group: int | None, owner: int | None = None) -> None:
    # the group first: with the mode first, a wrong group could read for a moment
    facts = os.fstat(descriptor)
    if group is not None and facts.st_gid != group:
        os.fchown(descriptor, -1, group)
    os.fchmod(descriptor, mode)
    # the owner last: once it is another's, only root may change the mode
    if owner is not None and facts.st_uid != owner:
        os.fchown(descriptor, owner, -1)


def _sync(descriptor: int) -> None:
    try:
        if sys.platform == "darwin":
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync alone stops at the drive's cache
        else:
            os.fsync(descriptor)
    except OSError as error:
        # a file system that cannot sync directories says so with these
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise


def _all_of(descriptor: int, path: Path, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := os.read(descriptor, min(_PIECE, limit + 1 - size)):
        parts.append(part)
        size += len(part)
        if size > limit:
            raise StoreCorrupt(
                f"{path} is larger than the {limit} bytes that such a file can have",
                hint="Look whether the right file stands there.",
            )
    return b"".join(parts)


def _remove_entry(name: str, directory: int) -> None:
    try:
        os.rmdir(name, dir_fd=directory)
    except NotADirectoryError:
        os.unlink(
            name, dir_fd=directory
        )  # fwalk counts a link to a directory among the directories


def _raise(error: OSError) -> None:
    raise error


def _refuse_foreign(path: Path, facts: os.stat_result) -> None:
    user = os.geteuid()
    if facts.st_uid not in {0, user}:
        raise ConfigurationError(
            f"{path} belongs to user {facts.st_uid}, who could make certctl do anything",
            hint=f"chown {'root' if user == 0 else user} {path}",
            code="configuration.permissions",
        )
    if stat.S_ISLNK(facts.st_mode):
        return  # a link's mode means nothing, its directory's does
    if stat.S_ISDIR(facts.st_mode) and facts.st_mode & stat.S_ISVTX:
        return
    others = stat.S_IWOTH
    if user == 0 and facts.st_gid != 0:
        others |= stat.S_IWGRP
    if facts.st_mode & others:
        raise ConfigurationError(
            f"{path} can be written by others, who could make certctl do anything",
            hint=f"chmod go-w {path}",
            code="configuration.permissions",
        )
