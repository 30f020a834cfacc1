"""`--json-lines`: each event is printed as one line of JSON on standard output as it happens.

Lines have the keys of the audit trail, with `schema` instead of that file's version. The result
of the command is the last line, written by `certctl.output.console`.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self, TextIO

from certctl.model.events import Event
from certctl.output.document import SCHEMA
from certctl.store.home.audit import event_object


class Lines:
    """A context manager with a sink for events; leaving it writes the remaining ones.

    A separate thread writes, so that work never waits for the reader. A closed pipe is ignored.
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
        """Accept an event from any thread; never blocks or raises."""
        self._queue.put(event)

    def _drain(self) -> None:
        with suppress(OSError):
            while (event := self._next()) is not None:
                document = {"schema": SCHEMA, **event_object(event)}
                self._stream.write(f"{json.dumps(document)}\n")
            self._stream.flush()

    def _next(self) -> Event | None:
        """Return the next event; the stream is flushed before waiting for one."""
        try:
            return self._queue.get_nowait()
        except Empty:
            self._stream.flush()
            return self._queue.get()
