"""Records that stand for good, for people as lines of a zone file, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.operations.persistent_validation import RecordStatus
from certctl.output.document import Json

_WORDS = {
    "seen": "every authoritative server has it",
    "written": "written, and every authoritative server has it",
    "missing": "to be added",
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
    """Return what a person is told: each record as it stands in a zone file, and its state."""
    return [
        line
        for each in records
        for line in (
            f"{each.domain}: {_WORDS[each.state]}",
            f'  {each.name}. 3600 IN TXT "{each.text}"',
        )
    ]
