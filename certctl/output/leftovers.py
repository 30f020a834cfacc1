"""Challenge responses that could not be removed, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.operations.leftovers import CleanupAction, LeftResponse
from certctl.output.console import Message
from certctl.output.document import Json, Result
from certctl.output.tables import Row, Table
from certctl.output.times import Times, moment


def leftovers_result(
    responses: Sequence[LeftResponse], action: CleanupAction, times: Times
) -> Result:
    """Return the result of `dns cleanup`."""
    data: dict[str, Json] = {
        "action": action.value,
        "left": [
            {
                "certificate": each.certificate,
                "identifier": each.identifier,
                "where": each.where,
                "failures": each.state.failures,
                "since": moment(each.state.since),
                "retry_at": moment(each.state.retry_at),
                "error": each.state.error or None,
            }
            for each in responses
        ],
    }
    if not responses:
        return Result(data, ["No challenge response is left."])
    rows = tuple(
        Row(
            (
                each.certificate,
                each.where,
                str(each.state.failures),
                times.minute(each.state.retry_at) if each.state.retry_at else "next run",
                each.state.error,
            )
        )
        for each in responses
    )
    lines: list[object] = [Table(("NAME", "LEFT", "FAILURES", "NEXT ATTEMPT", "ERROR"), rows)]
    if action is CleanupAction.DROP:
        lines.append("These are no longer removed automatically: remove them by hand.")
    else:
        lines.append(
            Message(
                "To try again now: certctl dns cleanup --retry. To forget them: certctl dns cleanup"
                " --drop"
            )
        )
    return Result(data, lines)
