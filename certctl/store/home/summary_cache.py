"""The cached rows of `list`, so that ten thousand certificates need not be read again: `list.json`,
which can be removed at any time.

A row is valid until its `until` time, as long as none of the files that it was made from has
changed. The caller defines what is in a row. A certificate without a valid row here may have one
that was saved with its renewal state (`certctl.store.home.saved_rows`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from certctl.model.errors import StoreError
from certctl.model.names import certificate_name
from certctl.rules.remembered_times import believed
from certctl.rules.settings import Settings
from certctl.store.codec import Json, timestamp
from certctl.store.home.documents import FORMAT
from certctl.store.home.layout import Layout
from certctl.store.home.saved_rows import Facts, SavedRows, digest, facts_of
from certctl.system.files import write_atomic
from certctl.system.reading import read_own
from certctl.version import VERSION

_LIMIT = 256 << 20

_MANY = 100
"""The number of new rows from which writing the file pays off."""


class SummaryCache:
    """The cached rows of one home directory."""

    def __init__(self, layout: Layout, settings: Settings, saved_rows: SavedRows) -> None:
        self._layout = layout
        self._saved_rows = saved_rows
        # the rules can change with the version, the defaults with certctl.toml
        self._made_by = f"{VERSION} {settings.spec_digest()}"
        self._seen: dict[str, str] = {}
        self._cached = 0

    def load(self, names: Iterable[str], now: datetime) -> dict[str, Json]:
        """Return the rows that are still valid, by the certificate's name.

        This also records the state of all files before the caller reads them: a later change is
        found the next time.
        """
        cached = self._read(now)
        found: dict[str, Json] = {}
        others: list[tuple[str, Facts]] = []
        renewals = f"{self._layout.renewals}/"
        for name in names:
            renewal = facts_of(f"{renewals}{certificate_name(name)}.json")
            facts = self._saved_rows.facts(name)
            seen = self._seen[name] = digest((renewal, *facts))
            row = _valid(cached.get(name), seen, now)
            if row is not None:
                found[name] = row
            elif renewal is not None:
                others.append((name, facts))
        self._cached = len(found)
        for name, facts in others:
            saved = self._saved_rows.read(name, digest(facts), now)
            if saved is not None:
                found[name] = saved
        return found

    def save(self, rows: Mapping[str, tuple[Json, datetime]], now: datetime) -> None:
        """Replace the cached rows; each has the time until which it is valid. All names must have
        been passed to `load`. Does nothing if few rows are new, or if the file cannot be written.
        """
        if len(rows) - self._cached < _MANY:
            return
        entries = {
            name: {"seen": self._seen[name], "until": timestamp(until), "row": row}
            for name, (row, until) in rows.items()
        }
        document = {
            "version": FORMAT,
            "made_by": self._made_by,
            "made_at": timestamp(now),
            "rows": entries,
        }
        with suppress(StoreError):
            write_atomic(self._layout.list_cache, json.dumps(document).encode())

    def _read(self, now: datetime) -> Mapping[str, dict[str, Any]]:
        try:
            document = json.loads(read_own(self._layout.list_cache, _LIMIT) or b"{}")
            if (
                document["version"] == FORMAT
                and document["made_by"] == self._made_by
                and believed(datetime.fromisoformat(document["made_at"]), now) is not None
            ):
                return dict(document["rows"])
        except (StoreError, ValueError, KeyError, TypeError, RecursionError):
            pass
        return {}


def _valid(entry: Mapping[str, Any] | None, seen: str, now: datetime) -> Json | None:
    """Return the row in an entry with its end, None if it is not valid now."""
    with suppress(KeyError, TypeError, ValueError):
        if entry and entry["seen"] == seen and now < datetime.fromisoformat(entry["until"]):
            return {**entry["row"], "until": entry["until"]}
    return None
