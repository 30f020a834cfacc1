"""The history of unattended `renew` runs: `run.json`, which can be lost without harm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from certctl.model.errors import StoreCorrupt, StoreError
from certctl.model.run import LastAlert, PrintedFailure, RunHistory
from certctl.rules.remembered_state import believed_history
from certctl.store.codec import to_json
from certctl.store.home import version1
from certctl.store.home.documents import read_record, write_document
from certctl.store.home.layout import Layout

_MAX_RUNS = 10
_DERIVED = "latest_in_future"


class Runs:
    """The run history of one home directory."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.runs

    def history(self, now: datetime) -> RunHistory:
        """Return the latest runs; an empty history if it cannot be read."""
        try:
            return self._read(now)
        except StoreError:
            return RunHistory()

    def record(
        self,
        now: datetime,
        exit_status: int,
        last_alert: LastAlert | None,
        printed: Sequence[PrintedFailure] = (),
    ) -> None:
        """Add a run. Runs with a later time are dropped: the clock was set back.

        Raises `StoreError` if the history cannot be read, or was written by a newer certctl.
        """
        before = self._known(now)
        known = [each for each in before.runs if each < now][-_MAX_RUNS + 1 :]
        self._save(
            replace(
                before,
                runs=(*known, now),
                exit_status=exit_status,
                succeeded_at=now if exit_status == 0 else before.succeeded_at,
                last_alert=last_alert,
                printed=tuple(printed),
            )
        )

    def record_external(self, now: datetime, *, external: bool) -> None:
        """Record whether something else runs `renew`; the runs are kept. Raises as `record`."""
        self._save(replace(self._known(now), external=external))

    def _known(self, now: datetime) -> RunHistory:
        try:
            return self._read(now)
        except StoreCorrupt:
            return RunHistory()

    def _read(self, now: datetime) -> RunHistory:
        given = {_DERIVED: None}
        found = read_record(self._path, RunHistory, version1.runs, **given)
        return RunHistory() if found is None else believed_history(found, now)

    def _save(self, history: RunHistory) -> None:
        write_document(self._path, to_json(history, without={_DERIVED}))
