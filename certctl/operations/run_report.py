"""Record the result of an unattended renewal run, and send alerts.

An alert is sent when a failure is new, and again every day while it lasts; success is reported
after every run. `certctl.alerts` sends them; an alert that fails never changes a run's result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from certctl.engine.report import Report
from certctl.engine.run import Run
from certctl.model.errors import AlertFailed, CertctlError, ExitStatus, StoreError
from certctl.model.run import LastAlert, PrintedFailure, RunFailure, RunSummary

if TYPE_CHECKING:
    from certctl.model.ports import Alert

REMINDER_INTERVAL = timedelta(days=1)
"""After this time, an unchanged failure is reported again."""

_UNNAMED = "-"


def report_run(report: Report, run: Run) -> Report:
    """Send alerts about a run and record its result; warn if either fails. Return the report with
    the errors that need not be printed again.
    """
    now = run.services.clock.now()
    summary = RunSummary(
        now,
        int(report.exit_status),
        report.considered,
        tuple(_failure(each) for each in report.all_errors),
    )
    history = run.services.machine.history()
    last_alert, printed = history.last_alert, history.printed
    if report.interrupted:
        pass  # the user who stopped it knows; the next run reports the rest
    elif report.exit_status is ExitStatus.DONE:
        last_alert = None
        for alert in _alerts(run):
            with _failures_as_warnings(run):
                alert.succeeded(summary)
    else:
        last_alert = _alert_failures(summary, last_alert, run)
    if not report.interrupted:
        report, printed = _without_printed(report, printed, now)
    try:
        run.services.machine.record_run(now, summary.exit_status, last_alert, printed)
    except StoreError as error:
        run.warn(error.message)
    return report


def _without_printed(
    report: Report, before: Sequence[PrintedFailure], now: datetime
) -> tuple[Report, tuple[PrintedFailure, ...]]:
    """Return the report with the errors that were printed before, and what is printed by now."""
    failures = [f"{each.name or _UNNAMED} {each.code}" for each in report.all_errors]
    printed = printed_after(failures, before, now)
    again = {each.failure for each in printed if each.at == now}
    quiet = zip(report.all_errors, failures, strict=True)
    silent = tuple(error for error, failure in quiet if failure not in again)
    return replace(report, printed_before=silent), printed


def printed_after(
    failures: Sequence[str], before: Sequence[PrintedFailure], now: datetime
) -> tuple[PrintedFailure, ...]:
    """Return the failures of a run with when each was printed last: at `now` what is new, or was
    last printed a day ago. What no longer fails is left out, and is new if it fails again.
    """
    last = {each.failure: each.at for each in before if now - each.at < REMINDER_INTERVAL}
    return tuple(PrintedFailure(each, last.get(each, now)) for each in dict.fromkeys(failures))


def alert_due(failures: Sequence[str], last_alert: LastAlert | None, summary: RunSummary) -> bool:
    """Return whether these failures need an alert: one is new, or a day has passed."""
    if last_alert is None or summary.at - last_alert.at >= REMINDER_INTERVAL:
        return True
    return not set(failures) <= set(last_alert.failures)


def _alert_failures(
    summary: RunSummary, last_alert: LastAlert | None, run: Run
) -> LastAlert | None:
    """Send an alert about failures if one is due; return the last alert that was sent."""
    failures = sorted({f"{each.name or _UNNAMED} {each.code}" for each in summary.failures})
    if not alert_due(failures, last_alert, summary):
        return last_alert
    # One alert that was delivered is enough; if none was, the next run tries again.
    delivered = False
    for alert in _alerts(run):
        with _failures_as_warnings(run):
            delivered = alert.failed(summary) or delivered
    return LastAlert(summary.at, tuple(failures)) if delivered else last_alert


def _alerts(run: Run) -> list[Alert]:
    """Return the configured alerts; warn of any that cannot be created."""
    from certctl.alerts.loading import (  # noqa: PLC0415 - most idle runs need none
        AlertSystem,
        configured,
        create_alert,
    )

    services = run.services
    system = AlertSystem(services.clock, services.emit, run.stop)
    alerts: list[Alert] = []
    for module in configured(services.settings):
        with _failures_as_warnings(run):
            alerts.append(create_alert(module, services.settings, system))
    return alerts


@contextmanager
def _failures_as_warnings(run: Run) -> Iterator[None]:
    try:
        yield
    except AlertFailed as error:
        hint = f" ({error.hint})" if error.hint else ""
        run.warn(f"{error.message}{hint}")


def _failure(error: CertctlError) -> RunFailure:
    return RunFailure(error.name, error.code, error.message, error.hint)
