"""The end of a renewal that nobody watched: how it ended is written down, and whoever is to hear of
it is told.

A failure is told of once, and again each day for as long as it lasts; a good run each time. What is
told, and how, belongs to `certctl.alerts`; that it could not be told never changes how a run ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from certctl.errors import AlertFailed, CertctlError, ExitStatus, StoreError
from certctl.models import LastAlert, RunFailure, RunSummary
from certctl.operations.report import Report
from certctl.operations.run import Run

if TYPE_CHECKING:
    from certctl.ports import Alert

REMINDED = timedelta(days=1)
"""After which a failure is told of again that has not changed."""

_UNNAMED = "-"


def report_run(report: Report, run: Run) -> None:
    """Tell how a run ended, and write it down; where one of the two is impossible, a warning says
    so.
    """
    now = run.services.clock.now()
    summary = RunSummary(
        now,
        int(report.exit_status),
        report.considered,
        tuple(_failure(each) for each in report.all_errors),
    )
    told = run.services.store.history().last_alert
    if report.interrupted:
        pass  # whoever stopped it knows, and the next run will tell the rest
    elif report.exit_status is ExitStatus.DONE:
        told = None
        for alert in _alerts(run):
            with _warned_of(run):
                alert.succeeded(summary)
    else:
        told = _told_of(summary, told, run)
    try:
        run.services.store.record_run(now, summary.exit_status, told)
    except StoreError as error:
        run.warn(error.message)


def alert_due(failures: Sequence[str], told: LastAlert | None, summary: RunSummary) -> bool:
    """Return whether a person has to hear of these failures: one is new, or a day has passed."""
    if told is None or summary.at - told.at >= REMINDED:
        return True
    return not set(failures) <= set(told.failures)


def _told_of(summary: RunSummary, told: LastAlert | None, run: Run) -> LastAlert | None:
    """Tell of failures where it is time to; return what a person has been told of by now."""
    failures = sorted({f"{each.name or _UNNAMED} {each.code}" for each in summary.failures})
    if not alert_due(failures, told, summary):
        return told
    # Whoever was reached by one of them knows; where nobody was, the next run tries again.
    reached = False
    for alert in _alerts(run):
        with _warned_of(run):
            reached = alert.failed(summary) or reached
    return LastAlert(summary.at, tuple(failures)) if reached else told


def _alerts(run: Run) -> list[Alert]:
    """Return the alerts that the settings ask for; one that cannot be is warned of."""
    from certctl.alerts.loading import (  # noqa: PLC0415 - most idle runs need none
        AlertSystem,
        configured,
        create_alert,
    )

    services = run.services
    system = AlertSystem(services.clock, services.emit, run.stop)
    found: list[Alert] = []
    for module in configured(services.settings):
        with _warned_of(run):
            found.append(create_alert(module, services.settings, system))
    return found


@contextmanager
def _warned_of(run: Run) -> Iterator[None]:
    try:
        yield
    except AlertFailed as error:
        hint = f" ({error.hint})" if error.hint else ""
        run.warn(f"{error.message}{hint}")


def _failure(error: CertctlError) -> RunFailure:
    return RunFailure(error.name, error.code, error.message, error.hint)
