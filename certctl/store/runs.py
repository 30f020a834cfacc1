"""When `renew` ran by itself: `run.json`, a convenience that can be lost without harm."""

from __future__ import annotations

from datetime import datetime

from certctl.errors import StoreCorrupt
from certctl.models import RunHistory
from certctl.store.documents import moment, read_document, write_document
from certctl.store.layout import Layout

_KEPT = 10


class Runs:
    """The runs of one home folder."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.runs

    def history(self) -> RunHistory:
        """Return the latest runs; none where they cannot be read."""
        try:
            fields = read_document(self._path)
            runs = () if fields is None else fields.moments("runs")
        except StoreCorrupt:
            return RunHistory()
        return RunHistory(runs)

    def record(self, now: datetime) -> None:
        """Add a run; one that does not come after the latest, by a clock set back, begins anew."""
        known = [each for each in self.history().runs if each < now][-_KEPT + 1 :]
        write_document(self._path, {"runs": [moment(each) for each in (*known, now)]})
