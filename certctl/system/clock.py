"""The machine's time, as the parameter that everything else takes (`certctl.ports.Clock`)."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime


class SystemClock:
    """Wall time in UTC, monotonic seconds, and sleep that a stop event ends."""

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go backwards."""
        return time.monotonic()

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Sleep until `stop` is set or `seconds` have passed; return whether it is set."""
        return stop.wait(seconds)
