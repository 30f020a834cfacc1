"""`certctl deploy`: deploy hooks and reloads once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from certctl.cli.completion import certificate_names
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, examples, settings
from certctl.cli.session import open_run
from certctl.cli.specs import report_lines
from certctl.errors import UsageError
from certctl.output.certificates import report_result
from certctl.output.document import Result

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command(
    "deploy",
    cls=Command,
    epilog=examples(
        "certctl deploy example.com",
        "certctl deploy --pending",
    ),
)
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=certificate_names)
@click.option("--pending", is_flag=True, help="Only certificates whose deploy is owed.")
@settings("lock_timeout")
@click.pass_obj
def command(invocation: Invocation, names: Sequence[str], pending: bool) -> Result:
    """Run the deploy hooks and reloads of certificates again, with the version that is live."""
    from certctl.operations.versions import deploy  # noqa: PLC0415 - not for --help

    if not (names or pending):
        raise UsageError(
            "which certificates are to be deployed?",
            hint="Name them, or deploy what is owed: certctl deploy --pending",
        )
    with open_run(invocation) as run:
        report = deploy(run, tuple(names), pending=pending)
        lines = report_lines(report, run, invocation)
        if not report.outcomes and invocation.output.terminal:
            lines = ["No deploy is owed."]
        return report_result(report, lines)
