"""Whose certificate is written to which file outside the home directory (`copies/DIGEST.json`).

A claim is a note, not a lock: it holds as long as its certificate is wanted and writes that file.
"""

from __future__ import annotations

from collections.abc import Callable

from certctl.errors import StoreCorrupt
from certctl.store.documents import read_document, write_document
from certctl.store.layout import Layout


class CopyOwners:
    """The claims below one home directory."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def claim(self, path: str, name: str, writes: Callable[[str, str], bool]) -> str | None:
        """Claim a file for `name`; return None, or the other name whose claim holds, as `writes`
        says of a name and a path.
        """
        other = self._owner(path)
        if other == name:
            return None
        if other is not None and writes(other, path):
            return other
        self._layout.make(self._layout.claims)
        write_document(self._layout.claim(path), {"path": path, "name": name})
        return None

    def _owner(self, path: str) -> str | None:
        try:
            fields = read_document(self._layout.claim(path))
        except StoreCorrupt:
            return None  # it is written anew
        return None if fields is None else fields.text_or_none("name")
