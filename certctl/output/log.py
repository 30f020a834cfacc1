"""The log file: one line per event, with times in UTC.

Each line is one write to a file opened for appending, so that several processes can share it.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from certctl.model.errors import CertctlError, ConfigurationError, UsageError
from certctl.model.events import Event
from certctl.model.text import MESSAGE, escaped
from certctl.output.descriptions import describe
from certctl.system.destinations import open_stream
from certctl.system.trust import open_for_appending

_STANDARD_ERROR = 2


class Log:
    """A log file, open while its context lasts; `-`, `/dev/stdout` and `/dev/stderr` are the
    streams of this process. Raises `UsageError` if it cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        self._descriptor = -1

    def __enter__(self) -> Self:
        try:
            stream = _stream(self._path)
            self._descriptor = (
                open_for_appending(Path(self._path)) if stream is None else os.dup(stream)
            )
        except ConfigurationError as error:
            raise UsageError(
                f"the log file {self._path} cannot be written: {error.message}",
                hint="Choose a file in a directory that only you can write to, with --log-file"
                " FILE.",
            ) from error
        except OSError as error:
            raise UsageError(
                f"the log file {self._path} cannot be written: {error.strerror}",
                hint="Choose another file with --log-file FILE; - is standard error.",
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def sink(self, event: Event) -> None:
        """Write a line for an event."""
        self.line(event.at, describe(event))

    def error(self, at: datetime, error: CertctlError) -> None:
        """Write an error that ended the command."""
        self.line(at, f"error: {error.message} ({error.code})")

    def line(self, at: datetime, text: str) -> None:
        """Write one printable line; further lines of `text` are indented. Failures to write are
        ignored.
        """
        stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        body = escaped(text, 2 * MESSAGE, lines=True).replace("\n", "\n    ")
        try:
            os.write(self._descriptor, f"{stamp} certctl[{os.getpid()}] {body}\n".encode())
        except OSError:
            return


def _stream(path: str) -> int | None:
    """Return the open descriptor that a path stands for; `-` is standard error, since results go to
    standard output.
    """
    return _STANDARD_ERROR if path == "-" else open_stream(path)
