"""Persistent validation records, as lines of a zone file and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.operations.persistent_validation import RecordStatus
from certctl.output.document import Json

_WORDS = {
    "seen": "every authoritative server has the record",
    "written": "written; every authoritative server has the record",
    "missing": "add this record to the DNS",
}


def record_object(status: RecordStatus) -> dict[str, Json]:
    """Return a record as JSON."""
    return {
        "name": status.name,
        "type": "TXT",
        "value": status.text,
        "domain": status.domain,
        "state": status.state,
    }


def record_lines(records: Sequence[RecordStatus]) -> list[object]:
    """Return each record in zone file format, with its state."""
    return [
        line
        for each in records
        for line in (
            f"{each.domain}: {_WORDS[each.state]}",
            f'  {each.name}. 3600 IN TXT "{each.text}"',
        )
    ]
