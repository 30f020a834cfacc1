"""The history of unattended `renew` runs: `run.json`, which can be lost without harm."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from certctl.model.errors import StoreError
from certctl.model.run import LastAlert, RunHistory
from certctl.rules.remembered_state import believed_history
from certctl.store.home.documents import Fields, read_document, timestamp, write_document
from certctl.store.home.layout import Layout

_MAX_RUNS = 10


class Runs:
    """The run history of one home directory."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.runs

    def history(self, now: datetime) -> RunHistory:
        """Return the latest runs; an empty history if it cannot be read."""
        try:
            fields = read_document(self._path)
            return RunHistory() if fields is None else believed_history(_history(fields), now)
        except StoreError:
            return RunHistory()

    def record(self, now: datetime, exit_status: int, last_alert: LastAlert | None) -> None:
        """Add a run. Runs with a later time are dropped: the clock was set back."""
        before = self.history(now)
        known = [each for each in before.runs if each < now][-_MAX_RUNS + 1 :]
        self._save(
            replace(
                before,
                runs=(*known, now),
                exit_status=exit_status,
                succeeded_at=now if exit_status == 0 else before.succeeded_at,
                last_alert=last_alert,
            )
        )

    def record_external(self, now: datetime, *, external: bool) -> None:
        """Record whether something else runs `renew`; the runs are kept."""
        self._save(replace(self.history(now), external=external))

    def _save(self, history: RunHistory) -> None:
        last_alert, at = history.last_alert, history.succeeded_at
        write_document(
            self._path,
            {
                "runs": [timestamp(each) for each in history.runs],
                "exit_status": history.exit_status,
                "succeeded_at": timestamp(at),
                "told": last_alert
                and {"at": timestamp(last_alert.at), "failures": list(last_alert.failures)},
                "external": history.external,
            },
        )


def _history(fields: Fields) -> RunHistory:
    told = fields.object_or_none("told")
    return RunHistory(
        runs=fields.times("runs"),
        exit_status=fields.integer_or_none("exit_status"),
        succeeded_at=fields.time_or_none("succeeded_at"),
        last_alert=None if told is None else LastAlert(told.time("at"), told.strings("failures")),
        external=fields.boolean("external", default=False),
    )
