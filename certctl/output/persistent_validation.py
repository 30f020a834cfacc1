"""Records that stand for good, for people as lines of a zone file, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.operations.persistent_validation import Standing
from certctl.output.document import Json

_WORDS = {
    "seen": "every authoritative server has it",
    "written": "written, and every authoritative server has it",
    "missing": "to be added",
}


def record_object(standing: Standing) -> dict[str, Json]:
    """Return a record as JSON."""
    return {
        "name": standing.name,
        "type": "TXT",
        "value": standing.text,
        "domain": standing.domain,
        "state": standing.state,
    }


def record_lines(records: Sequence[Standing]) -> list[object]:
    """Return what a person is told: each record as it stands in a zone file, and its state."""
    return [
        line
        for each in records
        for line in (
            f"{each.domain}: {_WORDS[each.state]}",
            f'  {each.name}. 3600 IN TXT "{each.text}"',
        )
    ]
