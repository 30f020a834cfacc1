"""Progress: a separate thread prints the events, so that work never waits for the terminal.

On a terminal, one line shows the current step and is redrawn; in a run of several certificates it
shows how many are done, and failures are printed above it. With `-v`, each event is printed on its
own line. Otherwise only warnings are printed.
"""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from certctl.model import events
from certctl.model.events import Event
from certctl.model.text import escaped, printable
from certctl.output.console import Output
from certctl.output.descriptions import describe

_DRAWN_EVENTS = (
    events.OrderPlaced,
    events.ChallengesPresented,
    events.ChallengesSeen,
    events.OrderReady,
    events.CertificateSaved,
    events.HookStarted,
    events.Checking,
    events.Retrying,
)


_BAR_WIDTH = 20
_REDRAW_INTERVAL = 0.1
"""Seconds between two updates of the line: thousands of certificates cause tens of thousands of
events.
"""


class _Tally:
    """Counts the certificates of a run."""

    def __init__(self, due: int) -> None:
        self._due = due
        self._done = 0
        self._failed = 0
        self._running: dict[str, None] = {}
        self._started = time.monotonic()

    def note(self, event: Event) -> None:
        """Count a certificate that started or finished."""
        if isinstance(event, events.CertificateStarted):
            self._running[event.name] = None
        elif isinstance(event, events.CertificateFinished):
            self._running.pop(event.name, None)
            self._done += 1
            self._failed += event.action == "failed"

    @property
    def line(self) -> str:
        """The run as one line, most important first: a narrow terminal cuts off the end."""
        filled = _BAR_WIDTH * self._done // max(self._due, 1)
        parts = [f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {self._done}/{self._due}"]
        if self._failed:
            parts.append(f"{self._failed} failed")
        if self._done:
            took = time.monotonic() - self._started
            parts.append(f"{_short(took / self._done * (self._due - self._done))} left")
        return escaped("  ".join([*parts, ", ".join(self._running)]))


class Progress:
    """A context manager with a sink for events; leaving it prints the remaining ones."""

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
        """Accept an event from any thread; never blocks or raises."""
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
        elif isinstance(event, _DRAWN_EVENTS) and output.live:
            self._clear()
            self._draw(describe(event))

    def _show_run(self, tally: _Tally, event: Event) -> None:
        tally.note(event)
        if not self._output.live:
            return
        failed = isinstance(event, events.Failed)
        if isinstance(event, events.Failed):
            self._clear()
            self._note_failure(f"{event.name}: failed: {event.message} ({event.code})")
        now = time.monotonic()
        if failed or now - self._drawn_at >= _REDRAW_INTERVAL:
            self._drawn_at = now
            self._clear()
            self._draw(tally.line)

    def _note_failure(self, text: str) -> None:
        """Print a failure on one line of the terminal: all of it is said in the end."""
        line, width = printable(text), self._output.width
        shown = line if len(line) < width else f"{line[: max(width - 4, 0)]}..."
        self._output.write_error(f"{shown}\n")

    def _draw(self, text: str) -> None:
        output = self._output
        shown = text[: output.width - 1]
        output.write_error(f"\x1b[2m{shown}\x1b[0m" if output.colour(output.stderr) else shown)
        self._drawn = True

    def _clear(self) -> None:
        if self._drawn:
            self._output.write_error("\r\x1b[K")
            self._drawn = False


def _short(seconds: float) -> str:
    """Return a duration in its largest unit, such as 40s or 3m."""
    for length, unit in ((3600, "h"), (60, "m")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"
