"""Streams that keep what is written to them, as a terminal or as none."""

import io
import os
from collections.abc import Mapping

from certctl.output.console import Output


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    """A stream that takes nothing and gives nothing, for the reason that `errno` has a number
    for.
    """

    def __init__(self, number: int, *, terminal: bool = False) -> None:
        super().__init__()
        self._number = number
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def write(self, _text: str, /) -> int:
        raise OSError(self._number, os.strerror(self._number))

    def readline(self, _size: int | None = -1, /) -> str:  # type: ignore[override] # as StringIO
        raise OSError(self._number, os.strerror(self._number))


def output(
    *,
    terminal: bool = False,
    json: bool = False,
    quiet: bool = False,
    verbosity: int = 0,
    variables: Mapping[str, str] | None = None,
) -> Output:
    kind = Terminal if terminal else io.StringIO
    return Output(kind(), kind(), variables or {}, json=json, quiet=quiet, verbosity=verbosity)


def printed(made: Output) -> tuple[str, str]:
    """What went to standard output and to standard error."""
    assert isinstance(made.stdout, io.StringIO)
    assert isinstance(made.stderr, io.StringIO)
    return made.stdout.getvalue(), made.stderr.getvalue()
