"""Locks between processes and between threads: `flock` on a file that is never removed.

The kernel releases a lock when its process ends, for whatever reason, so locks never become stale.
The lock file is never removed: otherwise a second process could lock a new file of the same name
while the first still holds the old one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from certctl.model.errors import Interrupted, LockHeld, StoreError
from certctl.model.ports import Clock
from certctl.system.file_errors import store_error

_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.25
_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_BUSY = {errno.EAGAIN, errno.EACCES}
_UNSUPPORTED = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}


class FileLock:
    """An acquired lock; released by `release` or by leaving the context."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        self._mutex = threading.Lock()

    def release(self) -> None:
        """Release the lock. May be called twice, and from any thread."""
        with self._mutex:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            # Closing is not enough: a child process between fork and exec still has a copy.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def is_on(self, path: Path) -> bool:
        """Return whether this lock is held, and on the file that is at `path` now: if somebody has
        removed it, another process can lock a new one.
        """
        with self._mutex:
            return self._descriptor is not None and _is_current(path, self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def acquire(
    path: Path,
    *,
    exclusive: bool,
    timeout: float,
    clock: Clock,
    subject: str,
    stop: threading.Event | None = None,
) -> FileLock:
    """Acquire the lock on `path`, whose directory must exist; wait at most `timeout` seconds.

    With a timeout of 0, try once. Each call opens the file again, and `flock` locks belong to open
    files, not to processes: two threads of a process exclude each other too, and a thread that
    acquires the same lock twice blocks itself.

    `subject` is what the lock protects, for messages. Raises `LockHeld` with the process id of the
    holder, `Interrupted` when `stop` is set, `StoreError` if the file system does not support
    locks.
    """
    stop = stop or threading.Event()
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    deadline = clock.monotonic() + timeout
    pause = _FIRST_PAUSE
    while True:
        descriptor = _try_lock(path, kind)
        if descriptor is not None:
            return FileLock(descriptor)
        left = deadline - clock.monotonic()
        if left <= 0:
            raise _lock_held(path, subject, timeout)
        if clock.wait(stop, min(pause, left)):
            raise Interrupted(f"stopped while waiting for the lock on {subject}")
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def holder(path: Path) -> int | None:
    """Return the pid of a process that holds the lock on `path`; None if it is not known."""
    try:
        facts = path.stat()
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    device = f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}"
    for line in lines:
        # "1: FLOCK  ADVISORY  WRITE 6960 fe:00:2146400 0 EOF"; a waiter has "->" as second word
        words = line.split()
        if len(words) >= 6 and words[1] == "FLOCK" and words[5] == device and words[4].isdigit():
            return int(words[4]) or None
    return None


def _try_lock(path: Path, kind: int) -> int | None:
    """Return the descriptor of the locked file, or None if the lock is already held."""
    try:
        descriptor = os.open(path, _OPEN, 0o600)
    except OSError as error:
        raise store_error("open the lock file", path, error) from error
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        if _is_current(path, descriptor):
            return descriptor
    except OSError as error:
        os.close(descriptor)
        if error.errno in _BUSY:
            return None
        if error.errno in _UNSUPPORTED:
            raise StoreError(
                f"the file system of {path} does not support locks: {error.strerror}",
                hint="Put the home directory on a local file system (--home DIR).",
            ) from error
        raise store_error("lock", path, error) from error
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _is_current(path: Path, descriptor: int) -> bool:
    """Return whether the locked file is still the one at `path`: it may have been removed."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _lock_held(path: Path, subject: str, timeout: float) -> LockHeld:
    pid = holder(path)
    waited = f" (waited {timeout:g} s)" if timeout > 0 else ""
    if pid is None:
        return LockHeld(
            f"{subject} is locked by another process{waited}",
            hint="Try again when it has finished, or wait longer with --lock-timeout SECONDS.",
        )
    return LockHeld(
        f"{subject} is locked by process {pid}{waited}",
        pid=pid,
        hint=f"Wait longer with --lock-timeout SECONDS, or see what it is doing: ps -fp {pid}",
    )
