"""The row of `list` that is saved with a renewal state: when it is saved, and when it counts."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certctl.rules.settings import Settings, Source
from certctl.store.records import ListRow
from tests.lab.clock import SteerableClock
from tests.support.homes import add_certificate
from tests.support.local_store import LocalStore

NAME = "row.example"
NOW = datetime.now(UTC)
ROW = ListRow({"state": "valid"}, NOW + timedelta(days=1))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with one certificate, whose row was saved a moment ago."""
    home = tmp_path / "home"
    add_certificate(home, NAME)
    save(home)
    return home


def save(home: Path, change: Callable[[], object] = lambda: None) -> None:
    """Save a renewal state with a row, as who holds the certificate does; meanwhile, `change`."""
    store = LocalStore(home, Settings(), SteerableClock(NOW))
    with store.lock(NAME, timeout=0):
        store.spec(NAME)
        status = store.status(NAME)
        change()
        store.save_renewal_state(
            NAME, status.renewal_state, next_action_at=NOW + timedelta(days=1), row=ROW
        )


def known(home: Path, now: datetime = NOW, settings: Settings | None = None) -> Any:
    """Return the row that `list` has, without its end; None if it reads the certificate."""
    store = LocalStore(home, settings or Settings(), SteerableClock(now))
    row = store.cached_rows([NAME], now).get(NAME)
    return None if row is None else {key: row[key] for key in row if key != "until"}


def document(home: Path) -> Path:
    return home / "renewal" / f"{NAME}.json"


def test_a_row_is_known_as_long_as_nothing_changes(home: Path) -> None:
    assert known(home) == {"state": "valid"}


def test_its_document_is_read_as_any_other(home: Path) -> None:
    store = LocalStore(home, Settings(), SteerableClock(NOW))

    assert json.loads(document(home).read_bytes())["row"]["row"] == {"state": "valid"}
    assert list(store.possibly_due([NAME], NOW)) == []


def test_a_row_ends_at_its_time(home: Path) -> None:
    assert known(home, ROW.until) is None


def test_a_row_that_a_clock_ahead_has_saved_is_not_believed(home: Path) -> None:
    assert known(home, NOW - timedelta(hours=1)) is None


def test_a_row_made_with_other_defaults_is_not_believed(home: Path) -> None:
    defaults = Settings().over({"key_type": "rsa-4096"}, Source.FILE)

    assert known(home, settings=defaults) is None


@pytest.mark.parametrize(
    "file",
    [
        f"certificates/{NAME}.toml",
        f"deployed/{NAME}.json",
        *(f"live/{NAME}/{each}.pem" for each in ("cert", "chain", "fullchain", "privkey")),
        *(f"live/{NAME}/{each}" for each in ("combined.pem", "issued.json")),
    ],
)
@pytest.mark.parametrize("how", ["touched", "removed", "another mode", "rewritten"])
def test_a_row_is_not_believed_once_a_file_has_changed(home: Path, file: str, how: str) -> None:
    path, facts = home / file, (home / file).stat()
    if how == "touched":
        path.touch()
    elif how == "removed":
        path.unlink()
    elif how == "another mode":
        path.chmod(0o666)
    else:
        path.write_bytes(path.read_bytes()[::-1])
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    assert known(home) is None


def test_a_row_is_not_believed_if_others_could_have_written_it(home: Path) -> None:
    document(home).chmod(0o666)

    assert known(home) is None


def test_a_row_is_not_believed_once_the_state_next_to_it_is_edited(home: Path) -> None:
    path = document(home)
    path.write_text(path.read_text().replace('"revoked": []', '"revoked": [1]'))

    assert known(home) is None


@pytest.mark.parametrize("file", [f"certificates/{NAME}.toml", f"live/{NAME}/cert.pem"])
def test_no_row_is_saved_if_a_file_has_changed_since_it_was_read(tmp_path: Path, file: str) -> None:
    home = tmp_path / "home"
    add_certificate(home, NAME)
    path = home / file

    save(home, lambda: path.write_bytes(path.read_bytes() + b"\n"))

    assert "row" not in json.loads(document(home).read_bytes())


def test_a_state_saved_without_a_row_has_none(home: Path) -> None:
    store = LocalStore(home, Settings(), SteerableClock(NOW))
    with store.lock(NAME, timeout=0):
        state = store.status(NAME).renewal_state
        store.save_renewal_state(NAME, state, next_action_at=NOW)

    assert "row" not in json.loads(document(home).read_bytes())
    assert known(home) is None
