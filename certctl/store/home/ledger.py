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
from certctl.rules.rate_limits import still_counted
from certctl.rules.remembered_state import believed_entries
from certctl.store.home.documents import read_document, write_document
from certctl.store.home.records import from_ledger_entry, to_ledger_entry
from certctl.system.files import Sync

_MAX_NAMES = 60_000
"""Maximum number of identifiers, in at most 12,000 entries: far beyond known limits; about 3 MB."""


class Ledger:
    """The ledger at one path. The caller must hold its lock to add entries."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, now: datetime) -> list[LedgerEntry]:
        """Return the entries, oldest first, without those in the future. Raises `StoreError` if the
        file cannot be read.
        """
        try:
            fields = read_document(self._path)
            if fields is None:
                return []
            entries = [to_ledger_entry(each) for each in fields.objects("asked")]
            return believed_entries(entries, now)
        except StoreCorrupt:
            return []

    def add(self, new: Sequence[LedgerEntry], now: datetime) -> None:
        """Add entries, and drop those that no longer count. Raises `StoreError`."""
        if not self._path.parent.is_dir():
            return  # the account has been removed in the meantime
        entries = still_counted([*self.read(now), *new], now, _MAX_NAMES)
        document = {"asked": [from_ledger_entry(each) for each in entries]}
        write_document(self._path, document, sync=Sync.NOTHING)
