"""`certctl dns persist`: create a persistent validation record, then issue the certificate."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import click

from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, examples, settings, yes_option
from certctl.cli.session import open_run
from certctl.cli.specs import given_options, report_lines
from certctl.dns.loading import provider_options
from certctl.model.errors import ChallengeError, UsageError
from certctl.model.names import parse_identifiers
from certctl.output.certificates import report_result
from certctl.output.document import Json, Result
from certctl.rules.settings import duration
from certctl.rules.spec import with_persistent_validation


@click.command(
    "persist",
    cls=Command,
    plugin_options=provider_options,
    epilog=examples(
        "certctl dns persist example.com",
        "certctl dns persist --wildcard example.com --dns rfc2136 --rfc2136-server 192.0.2.53",
        "certctl dns persist example.com --record-only --until 2030-01-01",
    ),
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--wildcard", is_flag=True, help="Let the record validate subdomains and wildcards too."
)
@click.option(
    "--until",
    metavar="DATE|DURATION",
    help="When the record expires, such as 2030-01-01 or 400d.",
)
@click.option(
    "--record-only", is_flag=True, help="Create the record, but do not issue a certificate."
)
@yes_option
@settings("ca", "ca_bundle", "account.id", "account.email", "account.agree_tos")
@settings(
    "challenge.dns_provider",
    "challenge.dns_credentials",
    "challenge.dns_options",
    "challenge.dns_resolver",
    "challenge.dns_follow_cname",
    "challenge.dns_propagation_timeout",
)
@settings("deploy.hook_timeout", "lock_timeout", "order_timeout")
@click.pass_obj
def command(
    invocation: Invocation,
    names: Sequence[str],
    wildcard: bool,
    until: str | None,
    record_only: bool,
) -> Result:
    """Create persistent validation records, and issue a certificate.

    With --dns, the provider writes the records. Without it, add the printed records yourself and
    run the command again. Once every authoritative server has the records, the certificate is
    issued; renewals need no DNS changes. The records name your account: keep its key safe. This
    is dns-persist-01, an experimental draft that few CAs offer.
    """
    from certctl.operations.issue import IssueRequest, issue  # noqa: PLC0415 - not for --help
    from certctl.operations.persistent_validation import PersistRequest, persist  # noqa: PLC0415 - as above
    from certctl.output.persistent_validation import record_lines, record_object  # noqa: PLC0415 - as above

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
