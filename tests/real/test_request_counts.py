"""How many requests an issuance takes, by the CA's own log, once there is an account.

A machine that is busy beyond measure may poll once more than it need; the median does not.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.lab.bind import BindServer
from tests.lab.pebble import PebbleServer
from tests.real.driver import Host, host

REPEATS = 3


def requests_for(here: Host, *arguments: str) -> int:
    """How many requests the CA receives for one issuance."""
    before = here.authority.request_count()
    here.issue(*arguments)
    return here.authority.request_count() - before


def median(counts: Sequence[int]) -> float:
    assert len(counts) == REPEATS
    return statistics.median(counts)


def test_one_name_takes_nine_requests_at_most(pebble: PebbleServer, tmp_path: Path) -> None:
    here = host(tmp_path, pebble)
    here.certctl("register")

    counts = [requests_for(here, f"count-{number}.example") for number in range(REPEATS)]

    assert median(counts) <= 9, counts


def test_each_request_of_an_issuance_has_its_reason(pebble: PebbleServer, tmp_path: Path) -> None:
    here = host(tmp_path, pebble)
    here.certctl("register")
    before = pebble.request_count()

    here.issue("reason.example")

    asked = [f"{each.method} {each.path}" for each in pebble.requests(since=before)]
    while asked.count("POST /my-order/") > 2:
        asked.remove("POST /my-order/")
    assert sorted(asked) == sorted(
        [
            "GET /dir",
            "HEAD /nonce-plz",
            "POST /order-plz",
            "POST /authZ/",
            "POST /chalZ/",
            "POST /my-order/",
            "POST /finalize-order/",
            "POST /my-order/",
            "POST /certZ/",
        ]
    )


@pytest.mark.parametrize("count", [5, 20])
def test_several_names_take_two_requests_each_and_nine_more(
    pebble: PebbleServer, tmp_path: Path, count: int
) -> None:
    here = host(tmp_path, pebble)
    here.certctl("register")

    counts = [
        requests_for(here, *(f"n{number}-{run}.count.example" for number in range(count)))
        for run in range(REPEATS)
    ]

    assert median(counts) <= 7 + 2 * count + 2, counts


def test_a_wildcard_with_its_base_takes_eleven_requests_at_most(
    pebble_bind: PebbleServer, bind: BindServer, tmp_path: Path
) -> None:
    here = host(
        tmp_path,
        pebble_bind,
        f'challenge.dns_provider = "rfc2136"\nchallenge.dns_resolver = "{bind.address}"\n'
        f'dns.rfc2136.server = "{bind.address}"\ndns.rfc2136.key_file = "{bind.keyfile}"',
    )
    here.certctl("register")

    counts = [
        requests_for(here, f"*.count{run}.example.test", f"count{run}.example.test")
        for run in range(REPEATS)
    ]

    assert median(counts) <= 7 + 2 * 2 + 2, counts


def test_several_renewals_in_one_run_share_directory_and_nonces(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here, count = host(tmp_path, pebble), 4
    for number in range(count):
        here.given(f"shared-{number}.example")
    before = pebble.request_count()

    finished = here.certctl("renew", "--force")

    asked = [each.path for each in pebble.requests(since=before)]
    assert finished.exit_status == 0
    assert asked.count("/dir") == 1
    assert asked.count("/nonce-plz") <= count  # each that is under way wants one of its own
    assert len(asked) <= 1 + 8 * count + count


def test_registering_takes_three_requests(pebble: PebbleServer, tmp_path: Path) -> None:
    here = host(tmp_path, pebble)
    before = pebble.request_count()

    here.certctl("register")

    asked = [each.path for each in pebble.requests(since=before)]
    assert asked == ["/dir", "/nonce-plz", "/sign-me-up"]


@pytest.mark.parametrize("command", [("list",), ("show", "quiet.example"), ("renew",)])
def test_looking_asks_the_ca_nothing(
    pebble: PebbleServer, tmp_path: Path, command: tuple[str, ...]
) -> None:
    here = host(tmp_path, pebble)
    here.given("quiet.example")
    before = pebble.request_count()

    finished = here.certctl(*command)

    assert (finished.exit_status, pebble.request_count()) == (0, before)
