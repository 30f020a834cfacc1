"""`certctl rollback`: make an older version of a certificate live again."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, examples, settings
from certctl.cli.session import open_run
from certctl.cli.specs import report_lines
from certctl.output.certificates import report_result
from certctl.output.document import Result
from certctl.output.times import Times
from certctl.rules.renewal import latest_renewal


@click.command(
    "rollback",
    cls=Command,
    epilog=examples(
        "certctl rollback example.com",
        "certctl rollback example.com --to 3",
    ),
)
@click.argument("name", metavar="NAME", type=CertificateName())
@click.option(
    "--to",
    "number",
    type=click.IntRange(min=1),
    metavar="N",
    help="Version to make live, by default the previous one.",
)
@settings("lock_timeout")
@click.pass_obj
def command(invocation: Invocation, name: str, number: int | None) -> Result:
    """Make an older version of a certificate live again, and deploy it.

    Renewal pauses until a sixth of that version's lifetime is left.
    """
    from certctl.operations.versions import rollback  # noqa: PLC0415 - not for --help

    with open_run(invocation) as run:
        report = rollback(run, name, number)
        lines = report_lines(report, run, invocation)
        times = Times(local=invocation.output.terminal)
        for each in (outcome.version for outcome in report.outcomes):
            if lines and each is not None and latest_renewal(each) > run.services.clock.now():
                until = times.minute(latest_renewal(each))
                lines.append(f"  Its renewal is paused until {until}.")
        return report_result(report, lines)
