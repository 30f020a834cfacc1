"""Progress: events drained from one queue on one thread, so that no work ever waits for a screen.

On a terminal the step under way is one line that is drawn anew; with `-v` every event is a line of
its own; otherwise only warnings are written.
"""

from __future__ import annotations

import threading
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
    events.Retrying,
)


class Progress:
    """A sink for events while its context lasts; leaving it writes what is left."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._queue: SimpleQueue[Event | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._drain, name="progress", daemon=True)
        self._drawn = False

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
        elif isinstance(event, _DRAWN) and output.live:
            self._clear()
            self._draw(describe(event))

    def _draw(self, text: str) -> None:
        output = self._output
        shown = text[: output.width - 1]
        output.tell(f"\x1b[2m{shown}\x1b[0m" if output.colour(output.stderr) else shown)
        self._drawn = True

    def _clear(self) -> None:
        if self._drawn:
            self._output.tell("\r\x1b[K")
            self._drawn = False
