"""What is drawn with rich: tables on a terminal, and the console that a live display needs. Loaded
once there is something to draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def draw_table(
    console: Console,
    columns: Sequence[tuple[str, bool]],
    rows: Sequence[tuple[Sequence[str], str]],
    *,
    gap: int,
) -> None:
    """Draw a table. A column is its heading and whether it must not wrap, a row its cells and its
    style; `gap` spaces are between two columns.
    """
    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, gap - 1, 0, 0), pad_edge=False, show_edge=False)
    for heading, no_wrap in columns:
        drawn.add_column(heading, overflow="fold", no_wrap=no_wrap)
    for cells, style in rows:
        drawn.add_row(*map(Text, cells), style=style)
    console.print(drawn)


def console_on(stream: TextIO, *, coloured: bool) -> Console:
    """Return rich's console on a stream."""
    colour: Literal["auto"] | None = "auto" if coloured else None
    return Console(file=stream, color_system=colour, highlight=False)
