"""Files that need not be read again, since they are those that this process last read or wrote.

A file is recognized by its signature: modification time, size and inode. Only some are kept, so
that looking at ten thousand certificates does not take more memory than looking at one.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Generic, TypeVar

from certctl.store.home.idle import Signature, file_signature

_Value = TypeVar("_Value")

_MOST = 500
"""More than are worked on at a time."""


class SeenFiles(Generic[_Value]):
    """What was in files, by a key for each."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[Signature, _Value]] = {}

    def get(self, key: Hashable, path: Path) -> _Value | None:
        """Return what was in the file at `path`, None if it is not known or has changed since."""
        known = self._known.get(key)
        if known is None or known[0] != file_signature(path):
            return None
        return known[1]

    def put(self, key: Hashable, seen: Signature | None, value: _Value) -> None:
        """Keep what is in a file. `seen` is its signature from before it was read, or from after it
        was written; without one, nothing is kept.
        """
        if seen is None:
            self._known.pop(key, None)
            return
        if len(self._known) >= _MOST:
            self._known = {}
        self._known[key] = seen, value

    def drop(self, key: Hashable) -> None:
        """Forget what was in a file."""
        self._known.pop(key, None)
