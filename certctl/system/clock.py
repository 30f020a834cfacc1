"""The system clock, an implementation of `certctl.model.ports.Clock`."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime


class SystemClock:
    """Wall-clock time in UTC, monotonic time, and interruptible sleep."""

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return monotonic time in seconds."""
        return time.monotonic()

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Sleep until `stop` is set or `seconds` have passed; return whether it is set."""
        return stop.wait(seconds)
