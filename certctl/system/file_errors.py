"""The error for a system call on a file that failed: what was done, the cause, and what to do."""

from __future__ import annotations

import errno
import os
from types import TracebackType

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

_NO_DIRECTORY = "Create the directory first, or give another path."


def store_error(verb: str, path: str | os.PathLike[str], error: OSError) -> StoreError:
    """Return the error for a failed system call: `verb` is the operation, such as `write`."""
    cause = error.strerror or str(error)
    hint = _HINTS.get(error.errno or 0)
    if verb == "write" and error.errno in {errno.ENOENT, errno.ENOTDIR}:
        hint = _NO_DIRECTORY
    return StoreError(f"cannot {verb} {os.fspath(path)}: {cause}", hint=hint)


class as_store_error:  # noqa: N801 - used as a function; a generator would take three times as long
    """Turn an `OSError` inside the context into a `StoreError` that names `path`."""

    __slots__ = ("_path", "_verb")

    def __init__(self, verb: str, path: str | os.PathLike[str]) -> None:
        self._verb = verb
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            raise store_error(self._verb, self._path, error) from error
