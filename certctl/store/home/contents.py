"""The digests of files that users edit, so that a write can tell whether somebody has done so.

A file is read again only if it is not the one that this process last read or wrote.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from certctl.store.home.idle import Signature, file_signature
from certctl.store.home.seen import SeenFiles
from certctl.system.reading import read_if_exists

MISSING = "-"
"""In place of the digest of a file that does not exist."""

_LIMIT = 4 << 20


class Contents:
    """What this process knows about the contents of files."""

    def __init__(self) -> None:
        self._known = SeenFiles[str]()

    def note(self, path: Path, seen: Signature | None, data: bytes) -> None:
        """Note the contents of a file. `seen` is its signature from before it was read, or from
        after it was written.
        """
        self._known.put(path, seen, _digest(data))

    def digest(self, path: Path) -> str:
        """Return the digest of a file as it is now. Raises `StoreError`."""
        known = self._known.get(path, path)
        if known is not None:
            return known
        seen, data = file_signature(path), read_if_exists(path, _LIMIT)
        if data is None:
            return MISSING
        self.note(path, seen, data)
        return _digest(data)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()
