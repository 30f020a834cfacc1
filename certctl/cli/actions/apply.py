"""What `certctl apply` does."""

from __future__ import annotations

from certctl.cli.desired import forecast_of, require_agreement
from certctl.cli.invocation import Invocation
from certctl.cli.reports import report_lines
from certctl.cli.session import open_run
from certctl.operations.apply import apply
from certctl.output.certificates import report_result
from certctl.output.document import Result
from certctl.output.plan import forecast_object


def run(invocation: Invocation, source: str, prune: bool, prune_limit: int | None) -> Result:
    """Make all certificates as a desired state says."""
    output = invocation.output
    with open_run(invocation) as run:
        forecast = forecast_of(invocation, source, run, prune, prune_limit)
        if forecast.to_do:
            require_agreement(invocation, forecast, "Do this?")
        report = apply(forecast, run)
        lines = report_lines(report, run, invocation, everything=output.terminal)
        if not forecast.to_do and not report.all_errors:
            lines = ["Nothing has to be done."] if output.terminal else []
        result = report_result(report, lines)
        return Result(
            {**result.data, "plan": forecast_object(forecast)},
            result.lines,
            result.errors,
            result.exit_status,
        )
