"""What `certctl renew` does."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.cli.chosen import choose, nothing_chosen
from certctl.cli.invocation import Invocation
from certctl.cli.reports import report_lines
from certctl.cli.selection import selection_of
from certctl.cli.session import open_run
from certctl.operations.renew import RenewRequest, renew
from certctl.output.certificates import report_result
from certctl.output.document import Result


def run(invocation: Invocation, names: Sequence[str], force: bool, dry_run: bool) -> Result:
    """Renew certificates that are due, and retry pending deployments."""
    with open_run(invocation) as run:
        chosen: tuple[str, ...] = ()
        if not selection_of(invocation, names).empty:
            chosen = choose(invocation, names, run).names
            if not chosen:
                return nothing_chosen(invocation)
        request = RenewRequest(
            chosen, force=force, dry_run=dry_run, unattended=not invocation.interactive
        )
        report = renew(request, run)
        everything = bool(chosen) or invocation.output.terminal
        return report_result(report, report_lines(report, run, invocation, everything=everything))
