"""Events for programs: with `--json-lines` each is a line of JSON on standard output as it happens.

The shape is that of the audit trail. What the command came to is the last line, and written by
`certctl.output.console`.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self, TextIO

from certctl.events import Event
from certctl.store.audit import line


class Lines:
    """A sink for events while its context lasts; leaving it writes what is left.

    One thread writes, so that no work ever waits for a reader. One that has left ends no renewal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._queue: SimpleQueue[Event | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._drain, name="lines", daemon=True)

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
        with suppress(OSError):
            while (event := self._next()) is not None:
                self._stream.write(line(event))
            self._stream.flush()

    def _next(self) -> Event | None:
        """Return the next event; what was written goes out before anything is waited for."""
        try:
            return self._queue.get_nowait()
        except Empty:
            self._stream.flush()
            return self._queue.get()
