"""Locks between processes, and between threads of one: flock on a file that is never removed.

The kernel frees a lock when its holder ends, however it ends, so that no lock is ever stale. The
file stays for ever: were it removed, a second process could lock a new file of the same name while
the first still holds the old one. What a lock protects is its caller's business.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from certctl.errors import Interrupted, LockHeld, StoreError
from certctl.ports import Clock
from certctl.system.files import store_error

_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.25
_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_BUSY = {errno.EAGAIN, errno.EACCES}
_UNSUPPORTED = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}


class FileLock:
    """A lock that is held; leaving the context, or `release`, gives it back."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        self._mutex = threading.Lock()

    def release(self) -> None:
        """Give the lock back; safe to call twice, and from any thread."""
        with self._mutex:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            # Not left to close alone: a child between fork and exec still holds a copy.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

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
    """Return the lock on `path`, whose directory must exist, waiting at most `timeout` seconds for
    it.

    A timeout of 0 tries once. Each call opens the file anew, and flock excludes open files, not
    processes: two threads of one process exclude each other as well, and taking the same lock
    twice in one thread waits for oneself.

    `subject` is what the lock protects, for the message. Raises `LockHeld` naming the holder,
    `Interrupted` once `stop` is set, `StoreError` where the file system has no locks.
    """
    stop = stop or threading.Event()
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    deadline = clock.monotonic() + timeout
    pause = _FIRST_PAUSE
    while True:
        descriptor = _try(path, kind)
        if descriptor is not None:
            return FileLock(descriptor)
        left = deadline - clock.monotonic()
        if left <= 0:
            raise _held(path, subject, timeout)
        if clock.wait(stop, min(pause, left)):
            raise Interrupted(f"stopped while waiting for the lock of {subject}")
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def holder(path: Path) -> int | None:
    """Return the pid of a process that holds the lock on `path`; None where the kernel does not
    tell.
    """
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


def _try(path: Path, kind: int) -> int | None:
    """Return the descriptor of the locked file, or None where somebody else has the lock."""
    try:
        descriptor = os.open(path, _OPEN, 0o600)
    except OSError as error:
        raise store_error("open the lock file", path, error) from error
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        if _is_still(path, descriptor):
            return descriptor
    except OSError as error:
        os.close(descriptor)
        if error.errno in _BUSY:
            return None
        if error.errno in _UNSUPPORTED:
            raise StoreError(
                f"the file system of {path} has no locks: {error.strerror}",
                hint="Put the home directory on a local file system (--home DIR).",
            ) from error
        raise store_error("lock", path, error) from error
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the locked file is the one that others will find: a person may have removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _held(path: Path, subject: str, timeout: float) -> LockHeld:
    pid = holder(path)
    waited = f" (waited {timeout:g} s)" if timeout > 0 else ""
    if pid is None:
        return LockHeld(
            f"{subject} is locked by another process{waited}",
            hint="Try again once it has ended, or wait longer with --lock-timeout SECONDS.",
        )
    return LockHeld(
        f"{subject} is locked by process {pid}{waited}",
        pid=pid,
        hint=f"`ps -fp {pid}` shows what it is; --lock-timeout SECONDS waits longer.",
    )
