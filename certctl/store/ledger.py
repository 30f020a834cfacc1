"""What this machine asked of a CA for one account: `ledger.json`, a convenience for warnings.

What it means for the CA's limits belongs to `certctl.rate_limits`. A ledger that cannot be read
starts empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from certctl.errors import StoreCorrupt
from certctl.models import LedgerEntry
from certctl.rate_limits import still_counted
from certctl.store.documents import read_document, write_document
from certctl.store.records import from_ledger_entry, to_ledger_entry

_MOST = 60_000
"""Names that are kept, in at most 12,000 entries: far beyond known limits, and three megabytes."""


class Ledger:
    """The ledger at one path; whoever adds to it holds its lock."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[LedgerEntry]:
        """Return what was asked, the oldest first. Raises `StoreError` where it cannot be read."""
        try:
            fields = read_document(self._path)
            return (
                []
                if fields is None
                else [to_ledger_entry(each) for each in fields.objects("asked")]
            )
        except StoreCorrupt:
            return []

    def add(self, asked: Sequence[LedgerEntry], now: datetime) -> None:
        """Write what was asked beside what still counts. Raises `StoreError`."""
        if not self._path.parent.is_dir():
            return  # the account was removed meanwhile
        entries = still_counted([*self.read(), *asked], now, _MOST)
        write_document(self._path, {"asked": [from_ledger_entry(each) for each in entries]})
