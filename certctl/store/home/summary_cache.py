"""The cached rows of `list`, so that ten thousand certificates need not be read again: `list.json`,
which can be removed at any time.

A row is valid until its `until` time, as long as none of the files that it was made from has
changed. The caller defines what is in a row.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from certctl.model.errors import StoreError
from certctl.model.names import certificate_name
from certctl.rules.integrity import CERTIFICATE_FILES, KEY_FILES
from certctl.rules.remembered_times import believed
from certctl.rules.settings import Settings
from certctl.store.codec import Json, timestamp
from certctl.store.home.documents import FORMAT
from certctl.store.home.layout import Layout
from certctl.system.files import write_atomic
from certctl.system.reading import read_own
from certctl.version import VERSION

_LIMIT = 256 << 20

_FILES = (*CERTIFICATE_FILES, *KEY_FILES)

Seen = list[list[int] | None]
"""State of a certificate's files: ctime (which users cannot set), size and inode of each."""


class SummaryCache:
    """The cached rows of one home directory."""

    def __init__(self, layout: Layout, settings: Settings) -> None:
        self._layout = layout
        # the rules can change with the version, the defaults with certctl.toml
        self._made_by = f"{VERSION} {settings.spec_digest()}"
        self._seen: dict[str, Seen] = {}

    def load(self, names: Iterable[str], now: datetime) -> dict[str, Json]:
        """Return the rows that are still valid, by the certificate's name.

        This also records the state of all files before the caller reads them: a later change is
        found the next time.
        """
        cached = self._read(now)
        found: dict[str, Json] = {}
        for name in names:
            seen = self._seen[name] = self._signatures(certificate_name(name))
            entry = cached.get(name)
            if entry is None:
                continue
            with suppress(KeyError, TypeError, ValueError):
                if entry["seen"] == seen and now < datetime.fromisoformat(entry["until"]):
                    found[name] = {**entry["row"], "until": entry["until"]}
        return found

    def save(self, rows: Mapping[str, tuple[Json, datetime]], now: datetime) -> None:
        """Replace the cached rows; each has the time until which it is valid. All names must have
        been passed to `load`. Does nothing if the file cannot be written.
        """
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

    def _signatures(self, name: str) -> Seen:
        home = self._layout.home
        live = [_signature(f"{home}/live/{name}/{each}") for each in _FILES]
        return [
            _signature(f"{home}/certificates/{name}.toml"),
            _signature(f"{home}/renewal/{name}.json"),
            _signature(f"{home}/deployed/{name}.json"),
            _signature(f"{home}/live/{name}/issued.json"),
            *live,
        ]


def _signature(path: str) -> list[int] | None:
    try:
        facts = os.stat(path)  # noqa: PTH116 - four times per certificate, as in `idle`
    except OSError:
        return None
    return [facts.st_ctime_ns, facts.st_size, facts.st_ino]
