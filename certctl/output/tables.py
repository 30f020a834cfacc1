"""Tables on a terminal: which columns fit, and how wide they are. Nothing in a cell is ever broken,
except prose in the last column, between its words, and what is longer than a whole line there.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from certctl.model.lazy_dataclass import dataclass

GAP = 2
"""Spaces between columns."""
_NOT_LONG = 30
"""A cell of the first column that is this short never stands on a line of its own where leaving out
other columns makes room for it.
"""
_SHARE = 0.6
"""The share of a terminal that the first column gets at most before other columns are left out for
it: what is longer stands on a line of its own.
"""

_NO_WIDTH = frozenset({"Mn", "Me", "Cf"})
"""Categories of marks that stand above or below the character before them."""


@dataclass(frozen=True)
class Row:
    """One row of a `Table`; `style` has the parameters of an ANSI sequence, such as "1;31"."""

    cells: tuple[str, ...]
    style: str = ""


@dataclass(frozen=True)
class Table:
    """A table with headings: drawn on a terminal, otherwise aligned with spaces.

    `optional`: headings of columns that a narrow terminal leaves out, in this order. `prose`: the
    last column may be wrapped between words; otherwise the few cells of it that are much longer
    than the others stand below their rows.
    """

    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    optional: tuple[str, ...] = ()
    prose: bool = True


def drawn(table: Table, width: int) -> Iterator[Row]:
    """Yield the lines of a table on a terminal of this width, each as a row of one cell: the
    headings, a rule, and the rows.
    """
    columns = _columns_that_fit(table, width)
    widths = _widths(table, columns, width)
    headings = Row(tuple(table.headings[each] for each in columns), "1")
    prose = columns[-1] != len(table.headings) - 1 or table.prose
    yield from _lines(headings, widths, width, prose=prose)
    yield Row(("─" * (sum(widths) + GAP * (len(widths) - 1)),))
    for row in table.rows:
        cells = tuple(row.cells[each] for each in columns)
        yield from _lines(Row(cells, row.style), widths, width, prose=prose)


def cell_width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(each) in "WF" for each in text)
    return len(text) + wide - sum(unicodedata.category(each) in _NO_WIDTH for each in text)


def _columns_that_fit(table: Table, width: int) -> list[int]:
    """Return the columns to draw: all, or without as many optional ones as necessary."""
    columns = list(range(len(table.headings)))
    left_out: list[int] = []
    for heading in table.optional:
        if _least_width(table, columns, width) <= width:
            break
        left_out.append(table.headings.index(heading))
        columns.remove(left_out[-1])
    for each in reversed(left_out):  # a narrow one may fit once a wide one is left out
        more = sorted([*columns, each])
        if _least_width(table, more, width) <= width:
            columns = more
    return columns


def _least_width(table: Table, columns: Sequence[int], width: int) -> int:
    others = [_whole(table, each) for each in columns[1:]]
    if len(columns) > 1:
        others[-1] = _least_last(table, columns[-1], width)
    return _least_first(table, columns[0], width) + sum(each + GAP for each in others)


def _least_first(table: Table, column: int, width: int) -> int:
    """Return the least width of the first column: most of its cells fit, and all that are not long,
    unless they stand on lines of their own.
    """
    cap = int(width * _SHARE)
    if (least := _least_of_most(table, column, cap, share=0.75)) is not None:
        return least
    widths = [cell_width(each) for each in _cells(table, column)]
    return max([each for each in widths if each <= cap], default=widths[0])


def _least_last(table: Table, column: int, width: int) -> int:
    """Return the least width of the last column, and of any other one what is in it."""
    if column != len(table.headings) - 1:
        return _whole(table, column)
    if table.prose:
        return _longest_word(table, column)
    least = _least_of_most(table, column, int(width * _SHARE), share=0.5)
    return _whole(table, column) if least is None else least


def _least_of_most(table: Table, column: int, cap: int, *, share: float) -> int | None:
    """Return the width in which this share of a column's cells fits, and all that are not long;
    None if that is more than `cap`.
    """
    heading, *cells = _cells(table, column)
    widths = sorted(map(cell_width, cells))
    most = widths[int((len(widths) - 1) * share)] if widths else 0
    if most > cap:
        return None
    return max(
        cell_width(heading), *(each for each in [0, *widths] if each <= max(most, _NOT_LONG))
    )


def _widths(table: Table, columns: Sequence[int], width: int) -> list[int]:
    """Return the width of each column. The first is narrower than what is in it if need be, and so
    is the last.
    """
    widths = [_whole(table, each) for each in columns]
    if len(columns) == 1:
        return widths
    excess = sum(widths) + GAP * (len(widths) - 1) - width
    if excess > 0:
        least = _least_last(table, columns[-1], width)
        # prose is as wide as there is room; a long name does not fit better in half of its width
        given = min(excess, widths[-1] - least) if _is_prose(table, columns) else widths[-1] - least
        widths[-1] -= given
        excess -= given
    if excess > 0:
        left = widths[0] - excess
        cells = [cell_width(each) for each in _cells(table, columns[0])]
        widths[0] = max((each for each in cells if each <= left), default=cells[0])
    return widths


def _is_prose(table: Table, columns: Sequence[int]) -> bool:
    return table.prose and columns[-1] == len(table.headings) - 1


def _cells(table: Table, column: int) -> list[str]:
    return [table.headings[column], *(row.cells[column] for row in table.rows)]


def _whole(table: Table, column: int) -> int:
    return max(cell_width(each) for each in _cells(table, column))


def _longest_word(table: Table, column: int) -> int:
    return max(cell_width(word) for cell in _cells(table, column) for word in cell.split() or [""])


def _lines(row: Row, widths: Sequence[int], width: int, *, prose: bool) -> Iterator[Row]:
    first, *others = row.cells
    if others and cell_width(first) > widths[0]:
        yield Row((first,), row.style)
        first = ""
    *middle, last = [first, *others]
    below = ""
    if others and not prose and cell_width(last) > widths[-1]:
        last, below = "", shortened(last, width - 2 * GAP)
    wrapped = _wrapped(last, widths[-1]) if others else [last]
    for number, text in enumerate(wrapped):
        cells = [*(middle if number == 0 else [""] * len(middle)), text]
        padded = (
            cell + " " * (each - cell_width(cell) + GAP)
            for cell, each in zip(cells, widths, strict=True)
        )
        yield Row(("".join(padded).rstrip(),), row.style)
    if below:
        yield Row((f"{' ' * 2 * GAP}{below}",), row.style)


def shortened(text: str, width: int) -> str:
    """Return a text that takes at most this many columns; of a longer one the two ends."""
    if cell_width(text) <= width:
        return text
    words = text.split(" ")
    end = f"…{words[0][-width // 3 :]}{''.join(f' {each}' for each in words[1:])}"
    start = text
    while start and cell_width(start) + cell_width(end) > width:
        start = start[:-1]
    return f"{start}{end}"


def _wrapped(text: str, width: int) -> list[str]:
    """Return the lines of a text that is wrapped between words."""
    if cell_width(text) <= width:
        return [text]
    lines: list[str] = []
    for word in text.split():
        if lines and cell_width(lines[-1]) + 1 + cell_width(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]
