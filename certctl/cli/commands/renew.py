"""`certctl renew`: run by cron or a timer. Off a terminal it prints nothing if nothing is due."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from certctl.cli.completion import CertificateName
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, examples, json_lines_option, settings
from certctl.cli.session import open_run
from certctl.cli.specs import report_lines
from certctl.operations.renew import RenewRequest, renew
from certctl.output.certificates import report_result
from certctl.output.document import Result

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command(
    "renew",
    cls=Command,
    epilog=examples(
        "certctl renew",
        "certctl renew --random-delay 20m",
        "certctl renew example.com --force",
        "certctl renew --dry-run",
    ),
)
@click.argument("names", nargs=-1, metavar="[NAME...]", type=CertificateName())
@click.option("--force", is_flag=True, help="Renew even if not due, or waiting after a failure.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Test against the CA's staging directory, or without one up to validation. Save nothing.",
)
@json_lines_option
@settings("account.agree_tos", "jobs", "random_delay", "lock_timeout", "order_timeout")
@click.pass_obj
def command(invocation: Invocation, names: Sequence[str], force: bool, dry_run: bool) -> Result:
    """Renew certificates that are due, and retry pending deployments.

    Considers all certificates, or those named. Each is renewed with its saved options; renew asks
    no questions.
    """
    with open_run(invocation) as run:
        request = RenewRequest(
            tuple(names), force=force, dry_run=dry_run, unattended=not invocation.interactive
        )
        report = renew(request, run)
        everything = bool(names) or invocation.output.terminal
        return report_result(report, report_lines(report, run, invocation, everything=everything))
