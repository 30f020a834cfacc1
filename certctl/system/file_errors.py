"""The error for a system call on a file that failed: what was done, the cause, and what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from certctl.model.errors import StoreError

_HINTS = {
    errno.ENOSPC: "Free some space on that file system and try again. No file was changed.",
    errno.EDQUOT: "Free some of the disk quota and try again. No file was changed.",
    errno.EROFS: "That file system is mounted read-only. Remount it, or use another directory.",
    errno.EACCES: "Run certctl as the owner of that directory (usually root), or use another one.",
    errno.EPERM: "Run certctl as the owner of that directory (usually root), or use another one.",
    errno.EIO: "The disk reports an error; see the kernel log. Run: dmesg",
    errno.EMFILE: "Too many files are open. Raise the limit (ulimit -n).",
}


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
