"""Tables on terminals of any width: nothing is broken, and columns are left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.output.tables import Row, Table, cell_width, drawn

LONG = "a-host-with-a-very-long-name.and-many-labels.of-a-customer-of-ours.in-a-zone.of-a.example"


def table(*names: str, prose: bool = False) -> Table:
    rows = tuple(
        Row((name, "undeployed", "89d", "2026-11-29", "verified", "letsencrypt", f"{name} +12"))
        for name in names
    )
    headings = ("NAME", "STATE", "LEFT", "RENEWS", "DEPLOYED", "CA", "NAMES")
    return Table(headings, rows, optional=("NAMES", "CA", "DEPLOYED", "RENEWS"), prose=prose)


def lines(made: Table, width: int) -> list[str]:
    return [row.cells[0] for row in drawn(made, width)]


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_a_name_as_long_as_the_terminal_is_not_broken_and_costs_the_others_no_column(
    width: int,
) -> None:
    alone = lines(table("a.example", "b.example"), width)
    with_long = lines(table("a.example", LONG, "b.example"), width)

    assert len(LONG) == 90 - 1
    assert LONG in with_long
    assert max(len(line) for line in with_long if line != LONG) <= width
    assert len(alone[0].split()) - len(with_long[0].split()) <= 1
    assert with_long[0].split()[:3] == ["NAME", "STATE", "LEFT"]
    assert with_long[with_long.index(LONG) + 1].split()[:2] == ["undeployed", "89d"]


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (140, ["NAME", "STATE", "LEFT", "RENEWS", "DEPLOYED", "CA", "NAMES"]),
        (72, ["NAME", "STATE", "LEFT", "RENEWS", "DEPLOYED", "CA"]),
        (60, ["NAME", "STATE", "LEFT", "RENEWS", "DEPLOYED"]),
        (40, ["NAME", "STATE", "LEFT", "RENEWS"]),
        (30, ["NAME", "STATE", "LEFT"]),
        (5, ["NAME", "STATE", "LEFT"]),
    ],
)
def test_columns_are_left_out_by_width(width: int, headings: list[str]) -> None:
    assert lines(table("a.example"), width)[0].split() == headings


def test_a_narrow_column_is_drawn_where_a_wide_one_had_to_go() -> None:
    made = Table(
        ("NAME", "KEY", "NAMES"), (Row(("a", "rsa", "n" * 90)),), optional=("KEY", "NAMES")
    )

    assert lines(made, 40)[0].split() == ["NAME", "KEY"]


@given(
    names=st.lists(st.text("ab.-", min_size=1, max_size=95), min_size=1, max_size=6),
    width=st.integers(10, 200),
    prose=st.booleans(),
)
def test_no_word_of_a_row_that_is_drawn_is_broken(
    names: list[str], width: int, prose: bool
) -> None:
    made = table(*names, prose=prose)
    words = [word for line in lines(made, width) for word in line.split()]

    drawn_columns = [each for each in made.headings if each in words]
    for row in made.rows:
        for heading, cell in zip(made.headings, row.cells, strict=True):
            if heading in drawn_columns:
                assert set(cell.split()) <= set(words)


def test_wide_characters_take_two_columns() -> None:
    made = Table(("A", "B"), (Row(("例え", "x")), Row(("abcd", "y"))))

    assert cell_width("例え") == 4
    assert lines(made, 40)[2:] == ["例え  x", "abcd  y"]


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_one_very_long_name_costs_the_other_rows_no_column(width: int) -> None:
    longest = ".".join(["a" * 62] * 3 + ["b" * 56, "example"])
    rows = [("a.example", "a.example +2"), ("b.example", "b.example"), ("c", f"{longest} +12")]
    made = Table(
        ("NAME", "STATE", "NAMES"),
        tuple(Row((name, "valid", names)) for name, names in rows),
        optional=("NAMES",),
        prose=False,
    )
    *above, row, below = lines(made, width)

    assert above[0].split() == ["NAME", "STATE", "NAMES"]
    assert [each.split() for each in above[2:]] == [
        ["a.example", "valid", "a.example", "+2"],
        ["b.example", "valid", "b.example"],
    ]
    assert row.split() == ["c", "valid"]
    assert len(below) <= width
    start, _, end = below.strip().partition("…")
    assert longest.startswith(start)
    assert len(start) > width // 3
    assert end.endswith("bb.example +12")


def test_marks_take_no_column_of_a_terminal() -> None:
    assert [cell_width(each) for each in ("ไทย", "กี่", "日本", "u\u0308")] == [3, 1, 4, 1]
