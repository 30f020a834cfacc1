"""Recent requests of this machine to a CA for one account, `ledger.json`: used only for rate limit
warnings.

How they count towards the CA's limits is defined in `certctl.rules.rate_limits`. A ledger that
cannot be parsed counts as empty.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from certctl.model.ca import LedgerEntry
from certctl.model.errors import StoreCorrupt
from certctl.model.lazy_dataclass import dataclass
from certctl.rules.rate_limits import RETENTION, still_counted
from certctl.rules.remembered_state import believed_entries
from certctl.store.codec import to_json
from certctl.store.home import version1
from certctl.store.home.documents import LIMIT, encode, read_record, write_document
from certctl.system.files import Sync, write_atomic
from certctl.system.reading import read_own

_MAX_NAMES = 60_000
"""Maximum number of identifiers, in at most 12,000 entries: far beyond known limits; about 3 MB."""

_MAX_BYTES = 3_000_000

_DAY = timedelta(days=1)

_HEAD, _TAIL = encode({"entries": []}).split(b"]", 1)
_TAIL = b"]" + _TAIL
"""What a document has before and after its entries."""

_TIME = re.compile(rb'"at": "(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z)"')
_FIRST_ENTRY = 1000
"""In the first bytes of a document is the time of its oldest entry."""


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
        """Add entries. Those that no longer count are dropped once a day: reading and writing all
        of them takes longer than the requests of many orders. Raises `StoreError`.
        """
        if not self._path.parent.is_dir():
            return  # the account has been removed in the meantime
        appended = self._appended(new, now)
        if appended is not None:
            write_atomic(self._path, appended, sync=Sync.NOTHING)
            return
        entries = still_counted([*self.read(now), *new], now, _MAX_NAMES)
        write_document(self._path, to_json(_Document(tuple(entries))), sync=Sync.NOTHING)

    def _appended(self, new: Sequence[LedgerEntry], now: datetime) -> bytes | None:
        """Return the document with more entries at its end, the others as they are. None if it is
        not one that certctl wrote completely, or has entries to drop.
        """
        try:
            data = read_own(self._path, LIMIT) or b""
        except StoreCorrupt:
            return None
        whole = data.startswith(_HEAD) and data.endswith(_TAIL) and b"\0" not in data
        oldest = _TIME.search(data, 0, _FIRST_ENTRY) if whole else None
        if oldest is None or not new or len(data) > _MAX_BYTES:
            return None
        try:
            at = datetime.fromisoformat(oldest[1].decode())
        except ValueError:
            return None
        if not timedelta(0) <= now - at < RETENTION + _DAY:
            return None
        added = encode(to_json(_Document(tuple(new))))
        return b"%b, %b" % (data.removesuffix(_TAIL), added.removeprefix(_HEAD))
