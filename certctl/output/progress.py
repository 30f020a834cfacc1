"""Progress: events drained from one queue on one thread, so that no work ever waits for a screen.

On a terminal the step under way is one line that is drawn anew, or in a run of several certificates
how far it has come, with failures above it as they happen. With `-v` every event is a line of its
own; otherwise only warnings are written.
"""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from certctl import events
from certctl.events import Event
from certctl.output.console import Output
from certctl.output.descriptions import describe

_DRAWN = (
    events.OrderPlaced,
    events.ChallengesPresented,
    events.ChallengesSeen,
    events.OrderReady,
    events.CertificateSaved,
    events.HookStarted,
    events.Checking,
    events.Retrying,
)


_BAR = 20
_REDRAWN = 0.1
"""Seconds between two pictures of a run: thousands of certificates make tens of thousands of
events.
"""


class _Tally:
    """How far a run of several certificates has come."""

    def __init__(self, due: int) -> None:
        self._due = due
        self._done = 0
        self._failed = 0
        self._running: dict[str, None] = {}
        self._begun = time.monotonic()

    def note(self, event: Event) -> None:
        """Take note of a certificate's beginning or end."""
        if isinstance(event, events.CertificateStarted):
            self._running[event.name] = None
        elif isinstance(event, events.CertificateFinished):
            self._running.pop(event.name, None)
            self._done += 1
            self._failed += event.action == "failed"

    @property
    def line(self) -> str:
        """The run as one line, what says most first: a narrow terminal cuts its end off."""
        filled = _BAR * self._done // max(self._due, 1)
        parts = [f"[{'#' * filled}{'.' * (_BAR - filled)}] {self._done}/{self._due}"]
        if self._failed:
            parts.append(f"{self._failed} failed")
        if self._done:
            took = time.monotonic() - self._begun
            parts.append(f"{_short(took / self._done * (self._due - self._done))} left")
        return "  ".join([*parts, ", ".join(self._running)])


class Progress:
    """A sink for events while its context lasts; leaving it writes what is left."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._queue: SimpleQueue[Event | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._drain, name="progress", daemon=True)
        self._drawn = False
        self._drawn_at = 0.0
        self._tally: _Tally | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._queue.put(None)
        self._thread.join()

    def sink(self, event: Event) -> None:
        """Take an event from any thread; never blocks, never raises."""
        self._queue.put(event)

    def _drain(self) -> None:
        while (event := self._queue.get()) is not None:
            self._show(event)
        self._clear()

    def _show(self, event: Event) -> None:
        output = self._output
        if isinstance(event, events.Warned):
            self._clear()
            output.warning(f"{event.name}: {event.message}" if event.name else event.message)
        elif output.verbosity:
            self._clear()
            output.note(describe(event))
        elif isinstance(event, events.RunStarted) and event.due > 1:
            self._tally = _Tally(event.due)
        elif self._tally is not None:
            self._show_run(self._tally, event)
        elif isinstance(event, _DRAWN) and output.live:
            self._clear()
            self._draw(describe(event))

    def _show_run(self, tally: _Tally, event: Event) -> None:
        tally.note(event)
        if not self._output.live:
            return
        failed = isinstance(event, events.Failed)
        if failed:
            self._clear()
            self._output.note(describe(event))
        now = time.monotonic()
        if failed or now - self._drawn_at >= _REDRAWN:
            self._drawn_at = now
            self._clear()
            self._draw(tally.line)

    def _draw(self, text: str) -> None:
        output = self._output
        shown = text[: output.width - 1]
        output.tell(f"\x1b[2m{shown}\x1b[0m" if output.colour(output.stderr) else shown)
        self._drawn = True

    def _clear(self) -> None:
        if self._drawn:
            self._output.tell("\r\x1b[K")
            self._drawn = False


def _short(seconds: float) -> str:
    """Return a duration in its largest unit, such as 40s or 3m."""
    for length, unit in ((3600, "h"), (60, "m")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"
