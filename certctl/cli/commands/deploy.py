"""`certctl deploy`: deploy the live version of certificates again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from certctl.cli.completion import CertificateName
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, examples, settings
from certctl.cli.session import open_run
from certctl.cli.specs import report_lines
from certctl.model.errors import UsageError
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
@click.argument("names", nargs=-1, metavar="[NAME...]", type=CertificateName())
@click.option("--pending", is_flag=True, help="Deploy the certificates that are not deployed yet.")
@settings("lock_timeout")
@click.pass_obj
def command(invocation: Invocation, names: Sequence[str], pending: bool) -> Result:
    """Deploy the live version of certificates again: copies, tests, hooks, reloads, live check."""
    from certctl.operations.versions import deploy  # noqa: PLC0415 - not for --help

    if not (names or pending):
        raise UsageError(
            "no certificate was given",
            hint="Name the certificates, or deploy all pending ones: certctl deploy --pending",
        )
    with open_run(invocation) as run:
        report = deploy(run, tuple(names), pending=pending)
        lines = report_lines(report, run, invocation)
        if not report.outcomes:
            lines = ["No deployment is pending."]
        return report_result(report, lines)
