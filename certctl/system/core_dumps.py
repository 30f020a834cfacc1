"""Keeps private keys out of core dumps, and out of reach of debuggers of the same user."""

from __future__ import annotations

import functools
import sys

_PR_SET_DUMPABLE = 4


@functools.cache
def forbid_core_dumps() -> None:
    """Make this process undumpable (prctl(2), PR_SET_DUMPABLE), before it has a key in memory. Does
    nothing on other systems than Linux.

    Unlike a limit of the size of core dumps, this is not inherited by the commands that certctl
    runs, and also applies if a program such as systemd-coredump receives the dump.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes  # noqa: PLC0415 - an idle run has no key in memory

    try:
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    except (OSError, AttributeError):  # no C library that can be loaded
        return
