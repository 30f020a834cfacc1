"""A clock that tests steer: it stands still until it is told to move, or somebody waits."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)

_LEAST_SECONDS = 1e-6
"""What the shortest wait takes: a rest of a float must not let a clock stand still for ever."""


class SteerableClock:
    """Implements `certctl.model.ports.Clock`. Waiting takes no time: it moves the clock instead."""

    def __init__(
        self, start: datetime = START, *, on_wait: Callable[[float], None] | None = None
    ) -> None:
        self.waits: list[float] = []
        """The seconds of each wait that was asked for, in order."""
        self._now = start
        self._elapsed = 0.0
        self.on_wait = on_wait
        self._mutex = threading.Lock()

    def now(self) -> datetime:
        with self._mutex:
            return self._now

    def monotonic(self) -> float:
        with self._mutex:
            return self._elapsed

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Move the clock by `seconds` unless `stop` is set already; return whether it is set.

        `on_wait` is called after the move, so that a test can let things happen "meanwhile".
        """
        if stop.is_set():
            return True
        self.waits.append(seconds)
        self.advance(max(seconds, _LEAST_SECONDS) if seconds > 0 else 0.0)
        if self.on_wait is not None:
            self.on_wait(seconds)
        return stop.is_set()

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        with self._mutex:
            self._now += timedelta(seconds=seconds)
            self._elapsed += seconds

    def set(self, moment: datetime) -> None:
        """Jump to a moment, as a corrected system clock does; monotonic time stays."""
        with self._mutex:
            self._now = moment
