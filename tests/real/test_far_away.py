"""A CA that is far away: what many names cost is then a few round trips, and not one for each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.distance import Distance
from tests.lab.pebble import PebbleServer
from tests.support.command import certctl

EACH_WAY = 0.03
NAMES = [f"n{number}.example" for number in range(40)]


@pytest.fixture
def pebble(tmp_path: Path) -> Iterator[PebbleServer]:
    """A Pebble that looks at nothing, so that its own work takes no time."""
    (tmp_path / "pebble").mkdir()
    with PebbleServer(directory=tmp_path / "pebble", always_valid=True) as pebble:
        yield pebble


def issue(pebble: PebbleServer, port: int, home: Path, *names: str) -> None:
    finished = certctl(
        *("issue", *names, "--ca", f"https://127.0.0.1:{port}/dir", "--agree-tos", "--yes"),
        *("--ca-bundle", str(pebble.ca_bundle), "--http-address", "127.0.0.1"),
        *("--http-port", str(pebble.http_port)),
        home=home,
    )
    assert finished.exit_status == 0, finished.stderr


def test_the_authorizations_of_an_order_are_read_and_answered_side_by_side(
    tmp_path: Path, pebble: PebbleServer
) -> None:
    with Distance(pebble.port, EACH_WAY) as far:
        issue(pebble, far.port, tmp_path / "home", "first.example")
        far.waited()
        before = pebble.request_count()

        issue(pebble, far.port, tmp_path / "home", *NAMES)
        waited, requests = far.waited(), pebble.request_count() - before

    assert requests >= 2 * len(NAMES)
    # one after another they would take all of it, and this machine may be busy
    assert waited.seconds < requests * 2 * EACH_WAY * 2 / 3
    assert waited.connections > 8


def test_close_to_the_ca_one_connection_does(tmp_path: Path, pebble: PebbleServer) -> None:
    with Distance(pebble.port, 0.0) as near:
        issue(pebble, near.port, tmp_path / "home", "first.example")
        near.waited()
        before = [each.path for each in pebble.requests()].count("/nonce-plz")

        issue(pebble, near.port, tmp_path / "home", *NAMES[:3])

        assert near.waited().connections == 1
    assert [each.path for each in pebble.requests()].count("/nonce-plz") - before == 1


def test_one_name_takes_a_round_trip_for_each_request_and_two_for_the_connection(
    tmp_path: Path, pebble: PebbleServer
) -> None:
    with Distance(pebble.port, EACH_WAY) as far:
        issue(pebble, far.port, tmp_path / "home", "first.example")
        far.waited()
        before = pebble.request_count()

        issue(pebble, far.port, tmp_path / "home", "a.example")
        waited, requests = far.waited(), pebble.request_count() - before

    assert waited.connections == 1
    assert waited.round_trips <= requests + 2
    assert requests <= 9
