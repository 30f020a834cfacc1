"""What `certctl renew` does."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.cli.invocation import Invocation
from certctl.cli.reports import report_lines
from certctl.cli.session import open_run
from certctl.operations.renew import RenewRequest, renew
from certctl.output.certificates import report_result
from certctl.output.document import Result


def run(invocation: Invocation, names: Sequence[str], force: bool, dry_run: bool) -> Result:
    """Renew certificates that are due, and retry pending deployments."""
    with open_run(invocation) as run:
        request = RenewRequest(
            tuple(names), force=force, dry_run=dry_run, unattended=not invocation.interactive
        )
        report = renew(request, run)
        everything = bool(names) or invocation.output.terminal
        return report_result(report, report_lines(report, run, invocation, everything=everything))
