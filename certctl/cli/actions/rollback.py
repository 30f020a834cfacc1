"""What `certctl rollback` does."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.cli.chosen import choose
from certctl.cli.invocation import Invocation
from certctl.cli.reports import report_lines
from certctl.cli.session import open_run
from certctl.operations.versions import rollback
from certctl.output.certificates import report_result
from certctl.output.document import Result
from certctl.output.times import Times
from certctl.rules.renewal import latest_renewal


def run(invocation: Invocation, names: Sequence[str], number: int | None) -> Result:
    """Make an older version of a certificate live again, and deploy it."""
    with open_run(invocation) as run:
        report = rollback(run, choose(invocation, names, run).names, number)
        lines = report_lines(report, run, invocation)
        times = Times(local=invocation.output.terminal)
        for each in (outcome.version for outcome in report.outcomes):
            if lines and each is not None and latest_renewal(each) > run.services.clock.now():
                until = times.minute(latest_renewal(each))
                lines.append(f"  Its renewal is paused until {until}.")
        return report_result(report, lines)
