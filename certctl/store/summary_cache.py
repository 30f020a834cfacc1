"""What `list` last made of each certificate, so that ten thousand need not be read again:
`list.json`, a convenience that can be removed at any time.

A row holds as long as nothing that it was made of has changed, by what the kernel says of the
files, and until the time that it carries: then the whole truth is read elsewhere. What is in a row
is its maker's affair.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from certctl.errors import StoreError
from certctl.names import certificate_name
from certctl.settings import Settings
from certctl.store.documents import FORMAT, Json, moment
from certctl.store.layout import Layout
from certctl.system.files import read_if_exists, write_atomic
from certctl.version import VERSION

_LIMIT = 256 << 20

Seen = list[list[int] | None]
"""What the files of a certificate were: changed when (by ctime, which nobody sets), size, inode."""


class Rows:
    """The rows of one home directory."""

    def __init__(self, layout: Layout, settings: Settings) -> None:
        self._layout = layout
        # the rules may change with the program, the defaults with certctl.toml
        self._made_by = f"{VERSION} {settings.spec_digest()}"
        self._seen: dict[str, Seen] = {}

    def recall(self, names: Iterable[str], now: datetime) -> dict[str, Json]:
        """Return the rows that still hold, by the certificate's name.

        What the others' files are is noted here, before anybody reads them: a change made since
        then is found the next time.
        """
        kept = self._kept()
        found: dict[str, Json] = {}
        for name in names:
            seen = self._seen[name] = self._look(certificate_name(name))
            entry = kept.get(name)
            if entry is None:
                continue
            with suppress(KeyError, TypeError, ValueError):
                if entry["seen"] == seen and now < datetime.fromisoformat(entry["until"]):
                    found[name] = {**entry["row"], "until": entry["until"]}
        return found

    def keep(self, rows: Mapping[str, tuple[Json, datetime]]) -> None:
        """Keep rows, each with the time until which it holds, in place of those that were kept.
        They must have been asked for with `recall`. Where that is impossible, nothing happens.
        """
        entries = {
            name: {"seen": self._seen[name], "until": moment(until), "row": row}
            for name, (row, until) in rows.items()
        }
        document = {"version": FORMAT, "made_by": self._made_by, "rows": entries}
        with suppress(StoreError):
            write_atomic(self._layout.rows, json.dumps(document).encode())

    def _kept(self) -> Mapping[str, dict[str, Any]]:
        try:
            document = json.loads(read_if_exists(self._layout.rows, _LIMIT) or b"{}")
            if document["version"] == FORMAT and document["made_by"] == self._made_by:
                return dict(document["rows"])
        except (StoreError, ValueError, KeyError, TypeError, RecursionError):
            pass
        return {}

    def _look(self, name: str) -> Seen:
        home = self._layout.home
        return [
            _signature(f"{home}/certificates/{name}.toml"),
            _signature(f"{home}/renewal/{name}.json"),
            _signature(f"{home}/deployed/{name}.json"),
            _signature(f"{home}/live/{name}/issued.json"),
        ]


def _signature(path: str) -> list[int] | None:
    try:
        facts = os.stat(path)  # noqa: PTH116 - ten thousand times four, as in `idle`
    except OSError:
        return None
    return [facts.st_ctime_ns, facts.st_size, facts.st_ino]
