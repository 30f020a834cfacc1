"""What `certctl deploy` does."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.cli.invocation import Invocation
from certctl.cli.reports import report_lines
from certctl.cli.session import open_run
from certctl.model.errors import UsageError
from certctl.operations.versions import deploy
from certctl.output.certificates import report_result
from certctl.output.document import Result


def run(invocation: Invocation, names: Sequence[str], pending: bool) -> Result:
    """Deploy the live version of certificates again: copies, tests, hooks, reloads, live check."""
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
