"""The end of a renewal that nobody watched: how it ended is written down.

So that `check` and `metrics` can say when `renew` last ran, and how that went.
"""

from __future__ import annotations

from certctl.errors import StoreError
from certctl.operations.report import Report
from certctl.operations.run import Run


def conclude(report: Report, run: Run) -> None:
    """Write down how a run ended; where that is impossible, it has ended so all the same."""
    try:
        run.services.store.record_run(run.services.clock.now(), int(report.exit_status))
    except StoreError as error:
        run.warn(error.message)
