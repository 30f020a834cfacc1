"""The ledger of requests to a CA: what is added to it, what is dropped, and what is left alone."""

from datetime import timedelta
from pathlib import Path

import pytest

from certctl.model.ca import LedgerEntry, LimitedAction
from certctl.store.home.ledger import Ledger
from tests.unit.store_samples import NOW

DAY = timedelta(days=1)


def asked(number: int, *, ago: timedelta = timedelta(0)) -> LedgerEntry:
    return LedgerEntry(LimitedAction.ORDER, NOW - ago, (f"n{number}.example",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.json"


def test_entries_come_back_in_the_order_in_which_they_were_added(path: Path) -> None:
    entries = [asked(number, ago=timedelta(seconds=5 - number)) for number in range(5)]

    for first in (0, 2, 4):
        Ledger(path).add(entries[first : first + 2], NOW)

    assert Ledger(path).read(NOW) == entries


def test_an_entry_is_added_without_reading_and_writing_the_others_again(path: Path) -> None:
    Ledger(path).add([asked(1)], NOW)
    noted = path.read_bytes().replace(b'{"action"', b'{"note": "\xc3\xa4", "action"')
    path.write_bytes(noted)

    Ledger(path).add([asked(2)], NOW)

    assert path.read_bytes().startswith(noted.removesuffix(b"]\n}\n") + b', {"action"')
    assert Ledger(path).read(NOW) == [asked(1), asked(2)]


@pytest.mark.parametrize(("ago", "kept"), [(7.5 * DAY, True), (8.5 * DAY, False)])
def test_what_counts_no_more_is_dropped_once_a_day(
    path: Path, ago: timedelta, *, kept: bool
) -> None:
    Ledger(path).add([asked(1, ago=ago)], NOW - ago)

    Ledger(path).add([asked(2)], NOW)

    assert (b"n1.example" in path.read_bytes()) is kept
    assert asked(2) in Ledger(path).read(NOW)


def test_a_ledger_of_a_clock_that_was_ahead_is_written_anew(path: Path) -> None:
    Ledger(path).add([asked(1, ago=-3 * DAY)], NOW + 3 * DAY)

    Ledger(path).add([asked(2)], NOW)

    assert b"n1.example" not in path.read_bytes()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"]\n}\n", b"]\n}\n\n"),
        (b"]\n}\n", b""),
        (b"n1", b"\0\0"),
        (b"-0", b"-9"),
        (b'"version": 2', b'"version": 0'),
    ],
)
def test_a_ledger_that_was_not_written_completely_begins_anew(
    path: Path, old: bytes, new: bytes
) -> None:
    Ledger(path).add([asked(1)], NOW)
    path.write_bytes(path.read_bytes().replace(old, new))

    Ledger(path).add([asked(2)], NOW)

    assert asked(2) in Ledger(path).read(NOW)


def test_nothing_is_added_to_a_ledger_that_is_as_large_as_it_can_be(path: Path) -> None:
    many = LedgerEntry(LimitedAction.ORDER, NOW, tuple(f"n{n}.example" for n in range(100)))
    for _ in range(100):
        Ledger(path).add([many] * 20, NOW)

    assert path.stat().st_size < 3_500_000
    assert Ledger(path).read(NOW)[-1] == many
