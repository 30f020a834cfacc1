"""Tables on a terminal: which columns fit, and how wide they are. Nothing in a cell is ever broken,
except prose in the last column, between its words.
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


@dataclass(frozen=True)
class Row:
    """One row of a `Table`; `style` has the parameters of an ANSI sequence, such as "1;31"."""

    cells: tuple[str, ...]
    style: str = ""


@dataclass(frozen=True)
class Table:
    """A table with headings: drawn on a terminal, otherwise aligned with spaces.

    `optional`: headings of columns that a narrow terminal leaves out, in this order. `prose`: the
    last column may be wrapped between words.
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
    yield from _lines(headings, widths)
    yield Row(("─" * (sum(widths) + GAP * (len(widths) - 1)),))
    for row in table.rows:
        yield from _lines(Row(tuple(row.cells[each] for each in columns), row.style), widths)


def cell_width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(each) in "WF" for each in text)
    return len(text) + wide - sum(unicodedata.combining(each) != 0 for each in text)


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
    if len(columns) > 1 and _is_prose(table, columns):
        others[-1] = _longest_word(table, columns[-1])
    return _least_first(table, columns[0], width) + sum(each + GAP for each in others)


def _least_first(table: Table, column: int, width: int) -> int:
    """Return the least width of the first column: most of its cells fit, and all that are not long,
    unless they stand on lines of their own.
    """
    widths = sorted(cell_width(row.cells[column]) for row in table.rows)
    heading, cap = cell_width(table.headings[column]), int(width * _SHARE)
    most = widths[len(widths) * 3 // 4] if widths else 0
    if most <= cap:
        return max(heading, *(each for each in [0, *widths] if each <= max(most, _NOT_LONG)))
    return max([each for each in widths if each <= cap], default=heading)


def _widths(table: Table, columns: Sequence[int], width: int) -> list[int]:
    """Return the width of each column. The first is narrower than what is in it if need be, and so
    is the last if it is prose.
    """
    widths = [_whole(table, each) for each in columns]
    if len(columns) == 1:
        return widths
    excess = sum(widths) + GAP * (len(widths) - 1) - width
    if excess > 0 and _is_prose(table, columns):
        least = _longest_word(table, columns[-1])
        given = min(excess, widths[-1] - least)
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


def _lines(row: Row, widths: Sequence[int]) -> Iterator[Row]:
    first, *others = row.cells
    if others and cell_width(first) > widths[0]:
        yield Row((first,), row.style)
        first = ""
    *middle, last = [first, *others]
    wrapped = _wrapped(last, widths[-1]) if others else [last]
    for number, text in enumerate(wrapped):
        cells = [*(middle if number == 0 else [""] * len(middle)), text]
        padded = (
            cell + " " * (width - cell_width(cell) + GAP)
            for cell, width in zip(cells, widths, strict=True)
        )
        yield Row(("".join(padded).rstrip(),), row.style)


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
