"""How many requests an issuance takes, by the CA's own log, once there is an account.

An order is looked at twice: until it is ready, and until it has its certificate. How often that is
repeated depends on how quickly the CA works, so it is not counted here but in tests of polling.
"""

from pathlib import Path

import pytest

from tests.lab.bind import BindServer
from tests.lab.pebble import PebbleServer
from tests.real.driver import Host, host

LOOKS_AT_AN_ORDER = 2


def requests_for(here: Host, pebble: PebbleServer, *arguments: str) -> list[str]:
    """The requests that the CA receives for one issuance, without repeated looks at the order."""
    before = pebble.request_count()
    here.issue(*arguments)
    asked = [f"{each.method} {each.path}" for each in pebble.requests(since=before)]
    while asked.count("POST /my-order/") > LOOKS_AT_AN_ORDER:
        asked.remove("POST /my-order/")
    return asked


def test_one_name_takes_nine_requests_each_with_its_reason(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)
    here.certctl("register")

    asked = requests_for(here, pebble, "reason.example")

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

    asked = requests_for(here, pebble, *(f"n{number}.count.example" for number in range(count)))

    assert len(asked) <= 7 + 2 * count + 2, asked


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

    asked = requests_for(here, pebble_bind, "*.count.example.test", "count.example.test")

    assert len(asked) <= 7 + 2 * 2 + 2, asked


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
    assert len(asked) - asked.count("/my-order/") <= 1 + 6 * count + count


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
