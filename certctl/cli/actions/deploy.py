"""What `certctl deploy` does."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.cli.chosen import choose, nothing_chosen, require_selection
from certctl.cli.invocation import Invocation
from certctl.cli.reports import report_lines
from certctl.cli.selection import selection_of
from certctl.cli.session import open_run
from certctl.operations.versions import deploy
from certctl.output.certificates import report_result
from certctl.output.document import Result


def run(invocation: Invocation, names: Sequence[str], pending: bool) -> Result:
    """Deploy the live version of certificates again: copies, tests, hooks, reloads, live check."""
    if not pending:
        hint = "Name the certificates, or deploy all pending ones: certctl deploy --pending"
        require_selection(invocation, names, hint)
    with open_run(invocation) as run:
        chosen: tuple[str, ...] = ()
        if not selection_of(invocation, names).empty:
            chosen = choose(invocation, names, run).names
            if not chosen:
                return nothing_chosen(invocation)
        report = deploy(run, chosen, pending=pending)
        lines = report_lines(report, run, invocation)
        if not report.outcomes:
            lines = ["No deployment is pending."]
        return report_result(report, lines)
