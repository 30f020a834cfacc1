"""The result of `certctl dns caa`, as lines of a zone file and as JSON."""

from __future__ import annotations

from certctl.model.errors import ExitStatus
from certctl.operations.caa import CaaChange, CaaResult
from certctl.output.console import Paragraph
from certctl.output.document import Json, Result


def caa_result(found: CaaResult) -> Result:
    """Return the result: the records of each name, and whether they were written."""
    lines = [line for each in found.changes for line in _lines(each)]
    if not any(each.add for each in found.changes):
        lines.append("All records are there.")
    elif found.written:
        lines.append("Written.")
    elif found.problem is None:
        lines.append(
            Paragraph(f"To write them: certctl dns caa {found.certificate} --write --dns rfc2136")
        )
    data: dict[str, Json] = {
        "certificate": found.certificate,
        "written": found.written,
        "names": [_object(each) for each in found.changes],
    }
    problem = found.problem
    if problem is None:
        return Result(data, lines)
    return Result(data, lines, (problem,), problem.exit_status or ExitStatus.FAILED)


def _lines(change: CaaChange) -> list[object]:
    lines: list[object] = [f"{change.name}. CAA {each}" for each in change.add]
    if change.own:
        lines.append(f"; already at {change.name}:")
        lines += [f";   {change.name}. CAA {each}" for each in change.own]
    if change.looser:
        allowed = ", ".join(str(each) for each in change.looser)
        lines.append(
            Paragraph(
                f"; {allowed} permits every account of that CA. certctl removes no record: once"
                " nothing else needs it, remove it yourself, or the others pin nothing"
            )
        )
    return lines


def _object(change: CaaChange) -> dict[str, Json]:
    return {
        "name": change.name,
        "add": [str(each) for each in change.add],
        "present": [str(each) for each in change.own],
        "permits_more": [str(each) for each in change.looser],
    }
