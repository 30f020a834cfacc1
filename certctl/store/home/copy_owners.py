"""Which certificate owns which file outside the home directory (`copies/DIGEST.json`).

A record is not a lock: it is valid while its certificate has a spec and still writes that file.
"""

from __future__ import annotations

from collections.abc import Callable

from certctl.model.errors import StoreCorrupt
from certctl.model.lazy_dataclass import dataclass
from certctl.store.codec import to_json
from certctl.store.home import version1
from certctl.store.home.documents import read_record, write_document
from certctl.store.home.layout import Layout


@dataclass(frozen=True)
class _Owner:
    path: str
    name: str


class CopyOwners:
    """The records of one home directory."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def claim(self, path: str, name: str, writes: Callable[[str, str], bool]) -> str | None:
        """Record `name` as the owner of a file. Return None, or the name of the certificate that
        already owns it, which is the case if `writes(name, path)` is true.
        """
        other = self._owner(path)
        if other == name:
            return None
        if other is not None and writes(other, path):
            return other
        self._layout.create_directory(self._layout.copy_owners)
        write_document(self._layout.copy_owner(path), to_json(_Owner(path, name)))
        return None

    def _owner(self, path: str) -> str | None:
        try:
            found = read_record(self._layout.copy_owner(path), _Owner, version1.unchanged)
        except StoreCorrupt:
            return None  # the record is overwritten
        return None if found is None else found.name
