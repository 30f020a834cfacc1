"""Recent requests of this machine to a CA for one account, `ledger.json`: used only for rate limit
warnings.

How they count towards the CA's limits is defined in `certctl.rules.rate_limits`. A ledger that
cannot be parsed counts as empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from certctl.model.ca import LedgerEntry
from certctl.model.errors import StoreCorrupt
from certctl.model.lazy_dataclass import dataclass
from certctl.rules.rate_limits import still_counted
from certctl.rules.remembered_state import believed_entries
from certctl.store.codec import to_json
from certctl.store.home import version1
from certctl.store.home.documents import read_record, write_document
from certctl.system.files import Sync

_MAX_NAMES = 60_000
"""Maximum number of identifiers, in at most 12,000 entries: far beyond known limits; about 3 MB."""


@dataclass(frozen=True)
class _Document:
    entries: tuple[LedgerEntry, ...]


class Ledger:
    """The ledger at one path. The caller must hold its lock to add entries."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, now: datetime) -> list[LedgerEntry]:
        """Return the entries, oldest first, without those in the future. Raises `StoreError` if the
        file cannot be read, or was written by a newer certctl.
        """
        try:
            found = read_record(self._path, _Document, version1.ledger)
            return [] if found is None else believed_entries(found.entries, now)
        except StoreCorrupt:
            return []

    def add(self, new: Sequence[LedgerEntry], now: datetime) -> None:
        """Add entries, and drop those that no longer count. Raises `StoreError`."""
        if not self._path.parent.is_dir():
            return  # the account has been removed in the meantime
        entries = still_counted([*self.read(now), *new], now, _MAX_NAMES)
        write_document(self._path, to_json(_Document(tuple(entries))), sync=Sync.NOTHING)
