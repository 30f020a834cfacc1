"""Bounded reads of files. A pipe is read only where a secret may come from one.

What may contain a secret or commands is checked on the file that was opened: others must not be
able to read the one or to write the other (`trust`).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certctl.model.errors import ConfigurationError, StoreCorrupt
from certctl.system import trust
from certctl.system.file_errors import as_store_error, store_error

_CHUNK = 64 * 1024
"""Bytes per read: the interpreter allocates the whole size, and larger allocations need system
calls of their own.
"""


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
