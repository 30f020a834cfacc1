"""What `certctl dns persist` does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from certctl.cli.invocation import Invocation
from certctl.cli.reports import report_lines
from certctl.cli.session import open_run
from certctl.cli.specs import given_options
from certctl.model.errors import ChallengeError, UsageError
from certctl.model.names import parse_identifiers
from certctl.operations.issue import IssueRequest, issue
from certctl.operations.persistent_validation import PersistRequest, persist
from certctl.output.certificates import report_result
from certctl.output.document import Json, Result
from certctl.output.persistent_validation import record_lines, record_object
from certctl.rules.settings import duration
from certctl.rules.spec import with_persistent_validation


def run(
    invocation: Invocation,
    names: Sequence[str],
    wildcard: bool,
    until: str | None,
    record_only: bool,
) -> Result:
    """Create persistent validation records, and issue a certificate."""
    identifiers = parse_identifiers(names)
    with open_run(invocation) as run:
        given = given_options(invocation)
        end = None if until is None else _end(until, run.services.clock.now())
        records = persist(PersistRequest(identifiers, given, wildcard, end), run)
        data: dict[str, Json] = {"records": [record_object(each) for each in records]}
        lines = record_lines(records)
        missing = [each.domain for each in records if each.state == "missing"]
        if record_only:
            return Result(data, lines)
        if missing:
            error = ChallengeError(
                f"nothing was issued: the DNS has no record for {', '.join(missing)} yet",
                hint="Add the record to the zone and run the same command again, or let certctl"
                " write it with --dns PROVIDER.",
                code="challenge.dns.persist",
            )
            return Result(data, lines, (error,), error.exit_status)
        request = IssueRequest(
            identifiers, given=with_persistent_validation(given), confirmed=invocation.yes
        )
        report = issue(request, run)
        result = report_result(report, [*lines, *report_lines(report, run, invocation)])
        return Result({**data, **result.data}, result.lines, result.errors, result.exit_status)


def _end(text: str, now: datetime) -> datetime:
    seconds = duration(text)
    if seconds is not None:
        return now + timedelta(seconds=seconds)
    try:
        end = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is not a date or a duration", hint="Use --until 2030-01-01 or --until 400d."
        ) from None
    return end if end.tzinfo else end.replace(tzinfo=UTC)
