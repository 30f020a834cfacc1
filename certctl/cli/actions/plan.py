"""What `certctl plan` does."""

from __future__ import annotations

from datetime import timedelta

from certctl.cli.desired import forecast_of
from certctl.cli.invocation import Invocation
from certctl.cli.session import open_run
from certctl.model.errors import ExitStatus, UsageError, worst
from certctl.operations.calendar import calendar
from certctl.operations.forecast import Forecast
from certctl.operations.plan import plan_renewal
from certctl.output.document import Result
from certctl.output.plan import calendar_lines, calendar_object, forecast_lines, forecast_object
from certctl.output.times import Times
from certctl.rules.settings import duration


def run(
    invocation: Invocation,
    source: str | None,
    prune: bool,
    prune_limit: int | None,
    until: str | None,
) -> Result:
    """Show what `apply` or the next `renew` would do."""
    if source is not None and until is not None:
        raise UsageError(
            "--until is the calendar of renew, and cannot be combined with a desired state",
            hint="certctl plan --until 30d",
        )
    if source is None and (prune or prune_limit is not None):
        raise UsageError(
            "--prune requires a desired state", hint="certctl plan certificates.toml --prune"
        )
    within = None if until is None else _within(until)
    times = Times(local=invocation.output.terminal)
    with open_run(invocation, untrusted="warn") as run:
        if source is not None:
            return result_of(forecast_of(invocation, source, run, prune, prune_limit), invocation)
        forecast = plan_renewal(run)
        if within is None:
            return result_of(forecast, invocation)
        events = calendar(forecast, within, run)
        return Result(
            calendar_object(events, within.total_seconds()), calendar_lines(events, times)
        )


def result_of(forecast: Forecast, invocation: Invocation) -> Result:
    """Return a plan as the result of a command."""
    terminal = invocation.output.terminal
    statuses = [each.exit_status for each in forecast.errors]
    if forecast.to_do:
        statuses.append(ExitStatus.SOMETHING_TO_DO)
    if forecast.errors and len(forecast.errors) < len(forecast.items):
        statuses.append(ExitStatus.PARTIAL)
    lines = forecast_lines(forecast, Times(local=terminal), everything=not terminal)
    return Result(forecast_object(forecast), lines, forecast.errors, worst(statuses))


def _within(text: str) -> timedelta:
    seconds = None if text.strip().isdigit() else duration(text)
    if seconds is None or not 0 < seconds <= 366 * 86400:
        raise UsageError(
            f"invalid value for '--until': {text!r} is not a duration of at most a year",
            hint="Give one with a unit, such as 30d or 12h.",
            code="usage.duration",
        )
    return timedelta(seconds=seconds)
