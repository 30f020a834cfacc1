"""Holds the other client's own lock while its files are changed.

certbot locks a file with fcntl, which the kernel releases. dehydrated creates a file, which stays
behind if its creator is killed: certctl's is also locked with flock, so that the next run knows
whether it has been abandoned.
"""

from __future__ import annotations

import fcntl
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event as StopEvent

from certctl.model.errors import LockHeld
from certctl.model.importing import ImportRecord
from certctl.model.ports import Clock
from certctl.system.effective_user import acting_as
from certctl.system.file_errors import as_store_error
from certctl.system.files import temporary_name

_OURS = b"certctl\n"
_POLL_SECONDS = 0.2


@contextmanager
def client_lock(
    record: ImportRecord, clock: Clock, stop: StopEvent, timeout: float
) -> Iterator[None]:
    """Hold the client's own lock, so that it does not run while its files are changed.

    Raises `LockHeld` if it still runs after `timeout` seconds.
    """
    if record.lock is None or not Path(record.lock).parent.is_dir():
        yield
        return
    path, deadline = Path(record.lock), clock.monotonic() + timeout
    kernel = record.client == "certbot"
    take = _take_certbot_lock if kernel else _take_lock_file
    while (held := _taken_as(record, take, path)) is None:
        if clock.monotonic() >= deadline or clock.wait(stop, _POLL_SECONDS):
            raise LockHeld(
                f"{record.client} is running: it holds {path}",
                hint="Run the same command again once it has ended."
                + (
                    ""
                    if kernel
                    else f" If none runs, remove that file: rm {shlex.quote(str(path))}"
                ),
            )
    try:
        yield
    finally:
        with suppress(FileNotFoundError), acting_as(record.acting(record.lock)):
            path.unlink()
        os.close(held)


def _taken_as(record: ImportRecord, take: Callable[[Path], int | None], path: Path) -> int | None:
    with acting_as(record.acting(record.lock)):
        return take(path)


def _take_certbot_lock(path: Path) -> int | None:
    """Lock the file as certbot does: an fcntl lock on a file that the holder removes at the end."""
    with as_store_error("lock", path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        same = path.stat().st_ino == os.fstat(descriptor).st_ino
    except (BlockingIOError, PermissionError, FileNotFoundError):
        same = False
    if same:
        return descriptor
    os.close(descriptor)
    return None


def _take_lock_file(path: Path) -> int | None:
    """Create the file as dehydrated does; one that a killed run of certctl left is taken over.

    It appears with its content and already locked, so that no kill leaves one that nobody knows.
    """
    with as_store_error("create", path):
        if os.path.lexists(path):
            return _take_abandoned(path)
        temporary = path.with_name(temporary_name(path.name))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(descriptor, _OURS)
            path.hardlink_to(temporary)
            temporary.unlink()
        except BaseException as error:
            for each in (path, temporary):
                with suppress(OSError):
                    if os.path.samestat(each.lstat(), os.fstat(descriptor)):
                        each.unlink()
            os.close(descriptor)
            if isinstance(error, FileExistsError):
                return None
            raise
        return descriptor


def _take_abandoned(path: Path) -> int | None:
    """Take the file over if it is one of certctl's whose holder has ended."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = os.read(descriptor, len(_OURS) + 1) == _OURS
        same = ours and path.stat().st_ino == os.fstat(descriptor).st_ino
    except OSError:
        same = False
    if same:
        return descriptor
    os.close(descriptor)
    return None
