"""Which certificates have nothing to do: the same whether their state is compared as text, as
certctl wrote it, or parsed, since somebody has written the same in another way.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certctl.model.certificate import Attempts, RenewalState
from certctl.rules.settings import Settings, Source
from certctl.store.records import ListRow
from tests.lab.clock import SteerableClock
from tests.support.homes import add_certificate
from tests.support.local_store import LocalStore

NAME = "idle.example"
NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=30)
STATE = RenewalState()


def save(home: Path, state: RenewalState = STATE, at: datetime | None = LATER) -> None:
    """Save a renewal state with a row, as after a renewal."""
    store = LocalStore(home, Settings(), SteerableClock(NOW))
    with store.lock(NAME, timeout=0):
        store.spec(NAME)
        store.status(NAME)
        row = ListRow({"state": "valid"}, LATER)
        store.save_renewal_state(NAME, state, next_action_at=at, row=row)


def as_written(_path: Path) -> None:
    """Leave a document as certctl wrote it."""


def in_one_line(path: Path) -> None:
    """Write the same in one line, without the row."""
    state = json.loads(path.read_bytes())
    del state["row"]
    path.write_text(json.dumps(state))


def indented(path: Path) -> None:
    """Write the same, keys in another order."""
    state = json.loads(path.read_bytes())
    path.write_text(json.dumps(state, indent=1, sort_keys=True))


@pytest.fixture(params=[as_written, in_one_line, indented], ids=lambda each: each.__name__)
def written(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    """How the document is written."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def home(tmp_path: Path, written: Callable[[Path], None]) -> Path:
    """A home with an idle certificate."""
    home = tmp_path / "home"
    add_certificate(home, NAME)
    save(home)
    written(document(home))
    return home


def document(home: Path) -> Path:
    return home / "renewal" / f"{NAME}.json"


def is_idle(home: Path, now: datetime = NOW, settings: Settings | None = None) -> bool:
    """Return whether there is nothing to do; both ports and their sum must say the same."""
    store = LocalStore(home, settings or Settings(), SteerableClock(now))
    once = list(store.possibly_due([NAME], now))
    parts = list(store.records.due(now)) or list(store.machine.due([NAME], now))
    assert parts == once
    return not once


def test_a_certificate_without_changes_is_idle(home: Path) -> None:
    assert is_idle(home)


def test_it_is_idle_until_its_next_action(home: Path) -> None:
    assert is_idle(home, LATER - timedelta(seconds=1))
    assert not is_idle(home, LATER)


def test_what_a_clock_ahead_has_saved_does_not_count(home: Path) -> None:
    assert not is_idle(home, NOW - timedelta(hours=1))


def test_other_defaults_count_for_all(home: Path) -> None:
    other = Settings().over({"key_type": "rsa-4096"}, Source.FILE)

    assert not is_idle(home, settings=other)


@pytest.mark.parametrize(
    "file",
    [
        f"certificates/{NAME}.toml",
        f"deployed/{NAME}.json",
        *(f"archive/{NAME}/1/{each}.pem" for each in ("cert", "chain", "fullchain", "privkey")),
        *(f"archive/{NAME}/1/{each}" for each in ("combined.pem", "issued.json")),
    ],
)
@pytest.mark.parametrize("change", ["touched", "removed"])
def test_a_change_of_any_file_counts(home: Path, file: str, change: str) -> None:
    if change == "touched":
        (home / file).touch()
    else:
        (home / file).unlink()

    assert not is_idle(home)


@pytest.mark.parametrize("target", ["../archive/idle.example/2", "/elsewhere", 'odd"name'])
def test_another_live_link_counts(home: Path, target: str) -> None:
    link = home / "live" / NAME
    link.unlink()
    link.symlink_to(target)

    assert not is_idle(home)


def test_a_pending_order_counts(home: Path) -> None:
    (home / "pending" / NAME).mkdir(parents=True)

    assert not is_idle(home)


def test_a_failure_counts(tmp_path: Path, written: Callable[[Path], None]) -> None:
    home = tmp_path / "home"
    add_certificate(home, NAME)
    save(home, replace(STATE, attempts=(Attempts(ca="https://ca.example/", failures=1),)))
    written(document(home))

    assert not is_idle(home)


def test_an_attempt_without_failures_does_not_count(
    tmp_path: Path, written: Callable[[Path], None]
) -> None:
    home = tmp_path / "home"
    add_certificate(home, NAME)
    save(home, replace(STATE, attempts=(Attempts(ca="https://ca.example/"),)))
    written(document(home))

    assert is_idle(home)


def test_without_a_next_action_only_a_change_counts(
    tmp_path: Path, written: Callable[[Path], None]
) -> None:
    home = tmp_path / "home"
    add_certificate(home, NAME)
    save(home, at=None)
    written(document(home))

    assert is_idle(home, NOW + timedelta(days=10_000))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"attempts": []', '"attempts": [{"ca": null, "failures": 3}]'),
        ('"attempts": []', '"attempts": [}'),
        ('"next_action_at": "', '"next_action_at": "x'),
        ('"version": 2', '"version": 3'),
    ],
)
def test_an_edit_of_the_document_counts(home: Path, old: str, new: str) -> None:
    path = document(home)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))

    assert not is_idle(home)
