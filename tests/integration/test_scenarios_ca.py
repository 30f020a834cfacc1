"""What a client must survive at the CA edge: nonces, waiting, and answers that are none.

Each test is named after its number in docs/scenarios.md, and drives the client against a CA that
behaves so. Orders and accounts have files of their own beside this one;
numbers that are missing in all three are about operations, solvers or renewal information.
"""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest

from certctl.ca.client import AcmeClient
from certctl.model.errors import (
    AccountPaused,
    AcmeError,
    BadResponse,
    CaUnavailable,
    RateLimited,
)
from certctl.model.names import parse_identifiers
from certctl.rules.polling import pause_before_poll
from certctl.system.clock import SystemClock
from tests.lab.clock import SteerableClock
from tests.lab.scripted_ca.faults import (
    Fault,
    drip,
    drop_connection,
    huge,
    problem,
    redirect,
    response,
    setting,
    subproblem,
    together,
    truncated,
    with_header,
    without_header,
)
from tests.lab.scripted_ca.server import ScriptedCA
from tests.lab.scripted_ca.settings import ALWAYS
from tests.support.ca_clients import Caller, csr_for, requests_since

NAMES = parse_identifiers(["a.example"])
THREE = ("a.example", "b.example", "c.example")
HTML = "<html><body>Service unavailable</body></html>"
FIRST_LOOK = pause_before_poll(0.0, None, 1)
EAB_KEY = b"a key of thirty-two bytes or so."


# -- nonces and waiting


def test_scenario_01_bad_nonce_three_times_in_a_row(ca: ScriptedCA, client: AcmeClient) -> None:
    mark = ca.count()
    ca.script("new-order", problem("badNonce"), times=3)
    assert client.new_order(NAMES).status == "pending"
    # Each time with the nonce of the refusal: nobody asks for another.
    assert requests_since(ca, mark) == ["new-order"] * 4


def test_scenario_01_bad_nonce_forever(
    ca: ScriptedCA, client: AcmeClient, clock: SteerableClock
) -> None:
    ca.script("new-order", problem("badNonce"), times=ALWAYS)
    with pytest.raises(AcmeError) as refusal:
        client.new_order(NAMES)
    assert refusal.value.type == "badNonce"
    assert ca.count("new-order") == 30
    assert clock.waits == [0.5, 1.0, 2.0, 4.0]


def test_scenario_01_every_nonce_forgotten_by_a_restart(
    ca: ScriptedCA, caller: Caller, client: AcmeClient
) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: client.account(), range(16)))
    ca.forget_nonces()
    caller.issue(client, *THREE)
    assert len(ca.issued) == 1


@pytest.mark.parametrize(
    "spoilt",
    [without_header("Replay-Nonce"), with_header("Replay-Nonce", "not, a nonce!")],
    ids=["none", "invalid"],
)
def test_scenario_02_success_without_a_usable_nonce(
    ca: ScriptedCA, client: AcmeClient, spoilt: Fault
) -> None:
    mark = ca.count()
    ca.script("new-order", spoilt)
    order = client.new_order(NAMES)
    client.order(order.url)
    assert requests_since(ca, mark) == ["new-order", "new-nonce", "order"]


def test_scenario_02_no_nonce_even_when_asked(ca: ScriptedCA, caller: Caller) -> None:
    ca.script("new-nonce", without_header("Replay-Nonce"), times=2)
    with (
        caller.client() as client,
        pytest.raises(BadResponse, match="did not return a valid nonce"),
    ):
        client.new_account((), terms_agreed=True)


@pytest.mark.parametrize("hours", [-8, 0, 9])
def test_scenario_03_retry_after_as_a_date_in_three_time_zones(
    ca: ScriptedCA, caller: Caller, client: AcmeClient, clock: SteerableClock, hours: int
) -> None:
    moment = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    later = (moment + timedelta(seconds=40)).astimezone(timezone(timedelta(hours=hours)))
    ca.script(
        "order",
        together(
            with_header("Date", format_datetime(moment, usegmt=True)),
            with_header("Retry-After", format_datetime(later)),
        ),
    )
    ca.on("order", setting(status="pending"), times=1)
    caller.prove(client, client.new_order(NAMES))
    assert clock.waits == [FIRST_LOOK, 40.0]


@pytest.mark.parametrize(
    ("value", "waited"),
    [("0", FIRST_LOOK), ("-1", FIRST_LOOK), ("soon", FIRST_LOOK), ("1000000000", 60.0)],
)
def test_scenario_04_an_invalid_retry_after(
    ca: ScriptedCA,
    caller: Caller,
    client: AcmeClient,
    clock: SteerableClock,
    value: str,
    waited: float,
) -> None:
    ca.script("order", with_header("Retry-After", value))
    ca.on("order", setting(status="pending"), times=1)
    caller.prove(client, client.new_order(NAMES))
    assert clock.waits == [FIRST_LOOK, waited]


def test_scenario_05_rate_limited(ca: ScriptedCA, client: AcmeClient) -> None:
    limit = problem(
        "rateLimited", 429, "too many orders", retry_after=3600, help_url="https://ca.example/help"
    )
    ca.script("new-order", limit)
    with pytest.raises(RateLimited, match="too many orders") as refusal:
        client.new_order(NAMES)
    assert refusal.value.retry_after == 3600
    hint = str(refusal.value.hint)
    assert hint.startswith("Try again at ")
    assert hint.endswith(" UTC, in 1 hour. See https://ca.example/help.")
    assert ca.count("new-order") == 1


def test_scenario_06_paused(ca: ScriptedCA, client: AcmeClient) -> None:
    detail = "Your account is paused for a.example, visit https://ca.example/unpause?jwt=abc"
    ca.script("new-order", problem("rateLimited", 429, detail))
    with pytest.raises(AccountPaused) as refusal:
        client.new_order(NAMES)
    assert refusal.value.hint == (
        "Unpause it at https://ca.example/unpause?jwt=abc, then run the command again."
    )
    assert ca.count("new-order") == 1


@pytest.mark.parametrize(("status", "error"), [(429, RateLimited), (503, CaUnavailable)])
def test_scenario_07_a_load_balancer_answers_in_html(
    ca: ScriptedCA,
    client: AcmeClient,
    clock: SteerableClock,
    caller: Caller,
    status: int,
    error: type[AcmeError],
) -> None:
    ca.script("new-order", response(status, HTML, {"Retry-After": "7"}), times=2)
    assert client.new_order(NAMES).status == "pending"
    # Besides, requests keep a short distance from each other after a refusal.
    assert [each for each in clock.waits if each > 1] == [7.0, 7.0]
    assert [seconds for _, seconds in caller.retries] == [7.0, 7.0]
    ca.script("new-order", response(status, HTML), times=ALWAYS)
    with pytest.raises(error) as refusal:
        client.new_order(NAMES)
    assert refusal.value.status == status
    assert "<" not in refusal.value.message


def test_scenario_07_a_load_balancer_names_hours(ca: ScriptedCA, client: AcmeClient) -> None:
    ca.script("new-order", response(503, HTML, {"Retry-After": "7200"}))
    with pytest.raises(CaUnavailable) as refusal:
        client.new_order(NAMES)
    assert refusal.value.retry_after == 7200


def test_scenario_08_server_error_with_retry_after_then_success(
    ca: ScriptedCA, caller: Caller, client: AcmeClient, clock: SteerableClock
) -> None:
    ca.script("authorization", problem("serverInternal", 500, "oops", retry_after=30))
    caller.issue(client, "a.example")
    assert clock.waits[0] == 30.0
    assert [seconds for _, seconds in caller.retries] == [30.0]
    assert "the authorization status request: oops" in caller.retries[0][0]


# -- problems, and what is no answer


def test_scenario_19_subproblems(ca: ScriptedCA, client: AcmeClient) -> None:
    about = [subproblem("a.example", "caa", "forbidden"), subproblem("b.example", "dns", "gone")]
    ca.script("new-order", problem("compound", 403, "two names", subproblems=about))
    with pytest.raises(AcmeError, match=r"two names; a\.example: forbidden; b\.example: gone"):
        client.new_order(NAMES)


@pytest.mark.parametrize("body", ["null", '"x"', "[1]", "[" * 100_000])
@pytest.mark.parametrize("status", [200, 201, 400, 409])
def test_scenario_19_a_body_of_another_shape(
    ca: ScriptedCA, client: AcmeClient, body: str, status: int
) -> None:
    ca.script("new-order", response(status, body, {"Location": "https://ca.example/order/1"}))
    with pytest.raises(AcmeError) as refusal:
        client.new_order(NAMES)
    assert refusal.value.status == status
    assert isinstance(refusal.value, BadResponse) == (status < 400)


def test_scenario_22_a_clock_hours_off(
    ca: ScriptedCA, caller: Caller, client: AcmeClient, clock: SteerableClock
) -> None:
    clock.set(datetime.now(UTC) + timedelta(hours=11))
    ca.retry_after = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    ca.validated_after = 1
    caller.prove(client, client.new_order(NAMES))
    assert clock.waits[0] == FIRST_LOOK
    assert 25 <= clock.waits[1] <= 30
    assert client.server_time is not None
    assert abs(client.server_time - datetime.now(UTC)) < timedelta(minutes=1)


def test_scenario_23_drip_fed(ca: ScriptedCA) -> None:
    caller = Caller(ca.directory_url, ca.ca_bundle, SystemClock(), timeout=0.4)
    with caller.registered() as client:
        ca.script("new-order", drip(1, 0.05))
        with pytest.raises(
            BadResponse, match=r"rejected the response of .*: it was not complete after 0\.4 s"
        ):
            client.new_order(NAMES)


@pytest.mark.parametrize("announced", [True, False])
def test_scenario_23_three_hundred_megabytes(
    ca: ScriptedCA, client: AcmeClient, announced: bool
) -> None:
    ca.script("new-order", huge(announced=announced))
    with pytest.raises(
        BadResponse, match=r"rejected the response of .*: it is larger than 1024 KiB"
    ):
        client.new_order(NAMES)


@pytest.mark.parametrize(
    "fault",
    [truncated(), drop_connection(), drop_connection(reset=True)],
    ids=["truncated", "dropped", "reset"],
)
def test_scenario_23_cut_off_once(ca: ScriptedCA, caller: Caller, fault: Fault) -> None:
    for resource in ("directory", "authorization", "order", "certificate"):
        ca.script(resource, fault)
    with caller.registered() as client:
        caller.issue(client, "a.example")
    assert len(ca.issued) == 1


def test_scenario_23_cut_off_each_time(ca: ScriptedCA, client: AcmeClient) -> None:
    ca.script("new-order", drop_connection(reset=True), times=ALWAYS)
    with pytest.raises(CaUnavailable, match="did not respond to the new order") as failure:
        client.new_order(NAMES)
    assert failure.value.exit_status == 6
    assert ca.count("new-order") == 5


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_scenario_24_a_redirected_post(ca: ScriptedCA, client: AcmeClient, status: int) -> None:
    ca.script("new-order", redirect(status))
    with pytest.raises(BadResponse, match=rf"redirected the new order \(HTTP status {status}\)"):
        client.new_order(NAMES)
    assert ca.count("new-order") == 1


def test_scenario_24_a_url_that_leads_away_from_https(ca: ScriptedCA, client: AcmeClient) -> None:
    ca.on(
        "new-order", lambda body: body.update(finalize=body["finalize"].replace("https:", "http:"))
    )
    ca.authorizations_start = "valid"
    order = client.new_order(NAMES)
    with pytest.raises(
        BadResponse, match="a URL for the certificate signing request that is not https"
    ):
        client.finalize(order, csr_for(NAMES), deadline=1)


@pytest.mark.parametrize(
    "url",
    ["https://:1/x", "https://[::1", "https://ca.example:99999/x", "https://a b/", "file:///etc"],
)
def test_scenario_24_a_url_that_leads_nowhere(ca: ScriptedCA, client: AcmeClient, url: str) -> None:
    ca.authorizations_start = "valid"
    ca.on("new-order", setting(finalize=url))
    order = client.new_order(NAMES)
    with pytest.raises(BadResponse):
        client.finalize(order, csr_for(NAMES), deadline=1)


# -- the directory, and challenges again


@pytest.mark.parametrize("meta", [None, [], "x", {}, {"profiles": [1], "caaIdentities": "x"}])
def test_scenario_33_a_directory_with_random_keys_and_a_strange_meta(
    ca: ScriptedCA, caller: Caller, meta: object
) -> None:
    ca.renewal_info = False
    ca.on("directory", setting(meta=meta, zQ3xx="https://ca.example/why", number=7, nothing=None))
    with caller.client() as client:
        directory = client.directory
    assert directory.renewal_info is None
    assert directory.terms_of_service is None
    assert directory.profiles == {}
    assert directory.caa_identities == ()


@pytest.mark.parametrize(
    "body", ["<html>", "null", "[]", "{}", '{"newNonce": 1}', json.dumps({"newNonce": "https://x"})]
)
def test_scenario_33_an_invalid_directory(ca: ScriptedCA, caller: Caller, body: str) -> None:
    ca.script("directory", response(200, body))
    with pytest.raises(BadResponse, match="responded to the directory request with"):
        caller.directory()


def test_scenario_33_the_directory_is_fetched_once_by_many_threads(
    ca: ScriptedCA, caller: Caller
) -> None:
    barrier = threading.Barrier(8)

    def look(client: AcmeClient) -> Any:
        barrier.wait()
        return client.directory

    with caller.client() as client, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(look, [client] * 8))
    assert all(each is found[0] for each in found)
    assert ca.count("directory") == 1
