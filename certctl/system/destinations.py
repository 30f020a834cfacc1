"""What is at a path that certctl is about to write, and whether that file can be replaced.

A file is replaced by renaming a new one over it. That must never happen to a device, a pipe or a
directory, and it cannot be done to a mount point or an immutable file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import struct
from contextlib import suppress
from pathlib import Path

from certctl.model.lazy_dataclass import dataclass
from certctl.system.file_errors import as_store_error

_MAX_LINKS = 40
_DESCRIPTOR = re.compile(r"/(?:dev|proc/(?:self|thread-self|\d+))/fd/(\d{1,4})\Z")
_STREAMS = {"-": 1, "/dev/stdout": 1, "/dev/stderr": 2}
_GET_FLAGS = 0x80086601
"""FS_IOC_GETFLAGS of Linux, on most architectures; an error on the others."""

_IMMUTABLE = 0x10
_APPEND_ONLY = 0x20

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


@dataclass(frozen=True)
class Obstacle:
    """Why a regular file cannot be replaced; `in_place`: its contents can still be overwritten."""

    reason: str
    in_place: bool


def open_stream(path: str) -> int | None:
    """Return the descriptor that a path stands for: `-`, `/dev/stdout`, `/dev/stderr` or
    `/dev/fd/N`; None for any other path.
    """
    if path in _STREAMS:
        return _STREAMS[path]
    found = _DESCRIPTOR.match(path)
    return None if found is None else int(found[1])


def write_stream(descriptor: int, data: bytes) -> None:
    """Write to a descriptor that was open when the program started. Raises `StoreError`."""
    with as_store_error("write to", f"/dev/fd/{descriptor}"):
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def not_replaceable(path: Path) -> str | None:
    """Return what is at `path`, if it is something else than a regular file or a link to one; None
    if it is that, or missing.

    Raises `StoreError` if that cannot be found out.
    """
    here = path
    with as_store_error("read the status of", path):
        for _ in range(_MAX_LINKS):
            if open_stream(os.path.normpath(here)) is not None:
                return "an open file of a process"
            try:
                facts = here.lstat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            if not stat.S_ISLNK(facts.st_mode):
                return next((word for is_kind, word in _KINDS if is_kind(facts.st_mode)), None)
            here = here.parent / here.readlink()
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def obstacle(path: Path) -> Obstacle | None:
    """Return why the file at `path` could not be replaced by another one, as far as that can be
    found out without trying.
    """
    if not os.path.lexists(path):
        flags = 0
    elif is_mount_point(path):
        return Obstacle("is a mount point", in_place=True)
    else:
        flags = _flags(path)
    if flags & _IMMUTABLE:
        return Obstacle("is immutable (chattr +i)", in_place=False)
    if flags & _APPEND_ONLY:
        return Obstacle("can only be appended to (chattr +a)", in_place=False)
    if _flags(path.parent) & (_IMMUTABLE | _APPEND_ONLY):
        return Obstacle("is in an immutable directory (chattr +i)", in_place=True)
    return None


def is_mount_point(path: Path) -> bool:
    """Return whether something is mounted on a file or directory itself (Linux)."""
    try:
        table = Path("/proc/self/mountinfo").read_bytes()
        real = os.fsencode(path.parent.resolve() / path.name)
    except (OSError, RuntimeError):
        return False
    points = (line.split(b" ")[4] for line in table.splitlines() if line.count(b" ") > 4)
    return any(_unescaped(point) == real for point in points)


def _unescaped(point: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), point)


def _flags(path: Path) -> int:
    """Return the attributes of a file or directory (chattr); 0 if they are not known."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if stat.S_IFMT(os.fstat(descriptor).st_mode) in {stat.S_IFREG, stat.S_IFDIR}:
                answer = fcntl.ioctl(descriptor, _GET_FLAGS, b"\0" * 8)
                return int(struct.unpack("I", answer[:4])[0])
        finally:
            os.close(descriptor)
    return 0
