"""Output: results go to standard output, progress and errors to standard error.

Colour, tables and progress lines are used only on a terminal that supports them. rich is imported
only when there is a table to draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TextIO

from certctl.errors import CertctlError, UsageError, ValidationFailed
from certctl.output import document
from certctl.output.document import Result

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Row:
    """One row of a `Table`; `style` is used on terminals."""

    cells: tuple[str, ...]
    style: str = ""


@dataclass(frozen=True)
class Table:
    """A table with headings: drawn on a terminal, otherwise aligned with spaces."""

    headings: tuple[str, ...]
    rows: tuple[Row, ...]


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
    ) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self.json = json or json_lines
        self.json_lines = json_lines
        self.quiet = quiet
        self.verbosity = verbosity
        self._variables = variables

    @property
    def terminal(self) -> bool:
        """Whether standard output is a terminal."""
        return self.stdout.isatty()

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
        for error in () if result.silent else result.errors:
            self.error(error)

    def error(self, error: CertctlError) -> None:
        """Print an error as text: what happened, the CA's reason for each name, and the hint."""
        name = "" if _is_named(error) else f"{error.name}: "
        self._print_labelled("error", f"{name}{error.message}", "bold red")
        if isinstance(error, ValidationFailed):
            for identifier, reason in error.reasons:
                if reason not in error.message:
                    self._print_labelled("", f"       {identifier}: {reason}")
        if error.hint:
            self._print_labelled(" hint", error.hint, "cyan")

    def warning(self, message: str) -> None:
        """Print a warning, unless --quiet is given."""
        if not self.quiet:
            self._print_labelled("warning", message, "yellow")

    def note(self, message: str) -> None:
        """Print a line of progress, unless --quiet or JSON is chosen."""
        if not (self.quiet or self.json):
            self._print_labelled("", message)

    def _print_labelled(self, label: str, message: str, style: str = "") -> None:
        prefix = f"{label}: " if label else ""
        if prefix and self.colour(self.stderr):
            codes = {"bold red": "1;31", "yellow": "33", "cyan": "36"}
            prefix = f"\x1b[{codes[style]}m{label}:\x1b[0m "
        self.write_error(f"{prefix}{message}\n")

    def write_error(self, text: str) -> None:
        """Write text to standard error; failures to write are ignored, so that work continues."""
        with suppress(OSError):
            self.stderr.write(text)
            self.stderr.flush()

    def _print(self, line: object) -> None:
        if isinstance(line, Table):
            self._print_table(line)
        else:
            self.stdout.write(f"{line}\n")

    def _print_table(self, table: Table) -> None:
        if not self.terminal:
            self.stdout.write(_aligned([table.headings, *(row.cells for row in table.rows)]))
            return
        from rich import box  # noqa: PLC0415 - only a terminal needs it
        from rich.table import Table as RichTable  # noqa: PLC0415 - only a terminal needs it
        from rich.text import Text  # noqa: PLC0415 - only a terminal needs it

        drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for heading in table.headings:
            drawn.add_column(heading, overflow="fold")
        for row in table.rows:
            drawn.add_row(*(Text(cell) for cell in row.cells), style=row.style)
        self.console().print(drawn)

    def console(self) -> Console:
        """Return rich's console on standard output."""
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs it

        colour: Literal["auto"] | None = "auto" if self.colour(self.stdout) else None
        return Console(file=self.stdout, color_system=colour, highlight=False)


def _is_named(error: CertctlError) -> bool:
    """Whether the message already names the certificate it is about."""
    if error.name is None or error.message.startswith(error.name):
        return True
    return isinstance(error, UsageError) and error.name in error.message


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "".join(f"{line}\n" for line in lines)
