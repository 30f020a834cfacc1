"""Output: results go to standard output, progress and errors to standard error.

Colour, tables and progress lines are used only on a terminal that supports them. Whatever is
printed is printable: what others named, wrote or typed cannot control the terminal. The styles here
are the only control sequences.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TextIO

from certctl.model.errors import CertctlError, UsageError, ValidationFailed
from certctl.model.lazy_dataclass import dataclass
from certctl.model.text import MESSAGE, escaped, printable
from certctl.output import document
from certctl.output.document import Result
from certctl.output.tables import GAP, Row, Table, drawn


class Paragraph(str):
    """A line that a terminal wraps between words, with the text after its label aligned."""

    __slots__ = ()


class Message(str):
    """A sentence for users: a terminal wraps it between words, and shows each command that it
    tells them to type on a line of its own.
    """

    __slots__ = ()


_LABEL = re.compile(r" *\S.*? {2,}(?=\S)")
"""The label of a line, and the spaces up to its value."""
_COMMAND = re.compile(
    r": (?P<command>(?:certctl(?! \d)|sudo|pip|systemctl|/\S+|--match) .+?)"
    r"(?P<end>\.?$|\. (?=[A-Z])|[,;] (?=then\b|and\b|or\b))"
)
"""A command to type in a message, and what ends it."""


@dataclass(frozen=True)
class Labelled:
    """A line that starts with a label, coloured on terminals with an ANSI style such as "1;31"."""

    label: str
    style: str
    text: str


_LONGEST_RECORD = 32_000


class PrintableStream:
    """A stream for text that others wrote, such as debug logs: unprintable characters become
    escapes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write text; of a very long one, such as a response of a megabyte, the ends."""
        self._stream.write(escaped(text, _LONGEST_RECORD, lines=True))

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()


def terminal_text(text: str) -> str:
    """Return lines for a terminal, unprintable characters as escapes."""
    return escaped(text, None, lines=True)


def wrapped(text: str, width: int) -> str:
    """Return lines for a terminal of this width, wrapped between words."""
    return "\n".join(_wrapped_line(each, width) for each in text.split("\n"))


class Output:
    """The output streams of one command."""

    def __init__(
        self,
        stdout: TextIO,
        stderr: TextIO,
        variables: Mapping[str, str],
        *,
        json: bool = False,
        json_lines: bool = False,
        quiet: bool = False,
        verbosity: int = 0,
        warns: Callable[[str], bool] | None = None,
    ) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self.json = json or json_lines
        self.json_lines = json_lines
        self.quiet = quiet
        self.verbosity = verbosity
        self._variables = variables
        self._warns = warns
        self._warned: set[str] = set()

    @property
    def terminal(self) -> bool:
        """Whether standard output is a terminal."""
        return self.stdout.isatty()

    @property
    def unicode(self) -> bool:
        """Whether people read standard output, on a terminal that shows any character."""
        encoding = getattr(self.stdout, "encoding", None) or ""
        return self.terminal and encoding.lower().replace("-", "").replace("_", "") == "utf8"

    @property
    def live(self) -> bool:
        """Whether progress may be drawn: standard error is a terminal, without --quiet or JSON."""
        dumb = self._variables.get("TERM") == "dumb"
        return self.stderr.isatty() and not (self.quiet or self.json or dumb)

    @property
    def width(self) -> int:
        """The width of the terminal in columns."""
        import shutil  # noqa: PLC0415 - only a terminal needs it

        return shutil.get_terminal_size().columns

    def colour(self, stream: TextIO) -> bool:
        """Whether a stream may be coloured (https://no-color.org)."""
        return (
            stream.isatty()
            and not self._variables.get("NO_COLOR")
            and self._variables.get("TERM") != "dumb"
        )

    def finish(self, command: str, result: Result) -> None:
        """Print a result: one JSON document, or its lines and then its errors."""
        if self.json_lines:
            self.stdout.write(document.render(command, result, kind="result"))
            self.stdout.flush()
            return
        if self.json:
            self.stdout.write(document.render(command, result, indented=self.terminal))
            self.stdout.flush()
            return
        if not self.quiet:
            for line in result.lines:
                self._print(line)
        self.stdout.flush()
        quiet = {id(each) for each in result.printed_before}
        for error in () if result.silent else result.errors:
            if result.one_line and id(error) not in quiet:
                self._error_on_one_line(error)
            elif id(error) not in quiet:
                self.error(error)

    def show(self, lines: Sequence[object]) -> None:
        """Print lines at once, before what the command goes on to do, unless JSON is chosen."""
        if not self.json:
            for line in lines:
                self._print(line)
            self.stdout.flush()

    def error(self, error: CertctlError) -> None:
        """Print an error as text: what happened, the CA's reason for each name, and the hint."""
        name = "" if _is_named(error) else f"{error.name}: "
        self._print_labelled("error", f"{name}{error.message}", "1;31")
        if isinstance(error, ValidationFailed):
            for identifier, reason in error.reasons:
                if reason not in error.message:
                    self._print_labelled("", f"       {identifier}: {reason}")
        if error.hint:
            self._print_labelled(" hint", error.hint, "1")

    def _error_on_one_line(self, error: CertctlError) -> None:
        name = "" if _is_named(error) else f"{error.name}: "
        hint = f" ({printable(error.hint, MESSAGE)})" if error.hint else ""
        self._print_labelled("error", f"{name}{printable(error.message, MESSAGE)}{hint}", "1;31")

    def warning(self, message: str) -> None:
        """Print a warning, unless --quiet is given; each one once, however often it is found."""
        if not self.quiet and message not in self._warned:
            self._warned.add(message)
            if self._warns is None or self._warns(message):
                self._print_labelled("warning", message, "1;35")

    def note(self, message: str) -> None:
        """Print a line of progress, unless --quiet or JSON is chosen."""
        if not (self.quiet or self.json):
            self._print_labelled("", message)

    def _print_labelled(self, label: str, message: str, style: str = "") -> None:
        prefix = f"{label}: " if label else ""
        message = escaped(message, 2 * MESSAGE, lines=True)
        if self.stderr.isatty():
            message = _wrapped_message(message, self.width, len(prefix))
        if prefix and self.colour(self.stderr):
            prefix = f"\x1b[{style}m{label}:\x1b[0m "
        self.write_error(f"{prefix}{message}\n")

    def write_error(self, text: str) -> None:
        """Write text to standard error as it is, with any control sequences; failures to write are
        ignored, so that work continues.
        """
        with suppress(OSError):
            self.stderr.write(text)
            self.stderr.flush()

    def _print(self, line: object) -> None:
        if isinstance(line, Table):
            self._print_table(line)
        elif isinstance(line, Labelled):
            self._print_label(line)
        elif isinstance(line, Message) and self.terminal:
            self.stdout.write(f"{_wrapped_message(terminal_text(line), self.width, 0)}\n")
        elif isinstance(line, Paragraph) and self.terminal:
            self.stdout.write(f"{wrapped(terminal_text(line), self.width)}\n")
        else:
            self.stdout.write(f"{terminal_text(str(line))}\n")

    def _print_label(self, line: Labelled) -> None:
        text = terminal_text(f"{line.label}: {line.text}")
        if self.terminal:
            text = wrapped(text, self.width)
        if self.colour(self.stdout):
            label = line.label
            text = f"\x1b[{line.style}m{label}\x1b[0m{text.removeprefix(label)}"
        self.stdout.write(f"{text}\n")

    def _print_table(self, table: Table) -> None:
        safe = [
            Row(tuple(escaped(cell, None) for cell in each.cells), each.style)
            for each in table.rows
        ]
        table = replace(table, rows=tuple(safe))
        if not self.terminal:
            self.stdout.write(_aligned([table.headings, *(row.cells for row in table.rows)]))
            return
        coloured = self.colour(self.stdout)
        for line in drawn(table, self.width):
            text = line.cells[0]
            shown = f"\x1b[{line.style}m{text}\x1b[0m" if coloured and line.style else text
            self.stdout.write(f"{shown}\n")


def _is_named(error: CertctlError) -> bool:
    """Whether the message already names the certificate it is about."""
    if error.name is None or error.message.startswith(error.name):
        return True
    return isinstance(error, UsageError) and error.name in error.message


def _wrapped_line(line: str, width: int) -> str:
    """Return a line wrapped between words; further lines are indented like its value. What is too
    long to stand next to its label, such as a path or a name, stands on lines of its own, unless it
    is one word that fits nowhere. So does a command.
    """
    if len(line) < width:
        return line
    label = _LABEL.match(line)
    indent = label.end() if label else len(line) - len(line.lstrip()) + GAP
    if label:
        value = line[indent:]
        longest = max(map(len, value.split()), default=0)
        if " " not in value and not len(line) > width >= len(value) + 2 * GAP:
            return line
        if longest > width - 1 - indent:
            below = _wrapped(value, width, 2 * GAP, first=2 * GAP)
            return f"{label[0].rstrip()}\n{below}"
    indent = indent if indent <= width // 2 else GAP
    *before, (last, command) = _pieces(line)
    if not command or len(last) + 2 * GAP >= width:
        return _wrapped(line, width, indent)
    text = line[: len(line) - len(line.lstrip())] + "".join(each for each, _ in before)
    beside = indent if len(last) + indent < width else 2 * GAP
    return f"{_wrapped(text, width, indent)}\n{' ' * beside}{last}"


def _wrapped_message(message: str, width: int, indent: int) -> str:
    """Return a message wrapped between words after a label as wide as `indent`. Only its first line
    is wrapped: further ones quote something. A command stands on a line of its own.
    """
    first, newline, rest = message.partition("\n")
    lines: list[str] = []
    for piece, command in _pieces(first):
        if command:
            lines.append(f"{' ' * (indent or GAP)}{piece}")
        else:
            lines += _wrapped(" " * indent + piece, width, indent).split("\n")
    return f"{chr(10).join(lines)[indent:]}{newline}{rest}"


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a message in order, and whether each is a command to type."""
    at = 0
    for found in _COMMAND.finditer(text):
        yield text[at : found.start() + 1].lstrip(), False
        yield found["command"], True
        at = found.end()
    if at < len(text) or not text:
        yield text[at:].lstrip(), False


def _wrapped(text: str, width: int, indent: int, *, first: int = 0) -> str:
    return textwrap.fill(
        text,
        max(width - 1, indent + 8),
        initial_indent=" " * first,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "".join(f"{line}\n" for line in lines)
