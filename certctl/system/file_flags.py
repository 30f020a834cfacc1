"""The flags that `chattr` sets on a file (Linux), which no mode and no owner shows."""

from __future__ import annotations

import array
import fcntl
import os
import sys
from pathlib import Path

_GET_FLAGS = 0x80086601 if sys.maxsize > 2**32 else 0x80046601  # FS_IOC_GETFLAGS, linux/fs.h
_FLAGS = {0x10: "i", 0x20: "a"}  # FS_IMMUTABLE_FL, FS_APPEND_FL


def forbids_replacement(path: Path) -> str | None:
    """Return the flag of `chattr` because of which not even root can replace a file: `i`
    (immutable) or `a` (append only); None if there is none, or it cannot be read.
    """
    if sys.platform != "linux":
        return None
    flags = array.array("l", [0])
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.ioctl(descriptor, _GET_FLAGS, flags, True)
    except OSError:  # a file system without flags
        return None
    finally:
        os.close(descriptor)
    return next((letter for bit, letter in _FLAGS.items() if flags[0] & bit), None)
