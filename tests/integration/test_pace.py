"""How quickly a CA is asked by all threads of a run: over real sockets, by a clock that stands."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import timedelta
from typing import Any

import pytest

from certctl.ca.client import AcmeClient
from certctl.ca.documented_limits import DocumentedLimits
from certctl.ca.network import Network
from certctl.ca.polling import PollTimer
from certctl.ca.problems import Resource
from certctl.ca.rate_limiter import Rate
from certctl.model.ca import Endpoint
from certctl.model.errors import CaUnavailable, RateLimited, RenewalInfoUnavailable
from certctl.model.names import parse_identifiers
from tests.lab.clock import SteerableClock
from tests.lab.scripted_ca.faults import problem, response
from tests.lab.scripted_ca.server import ScriptedCA
from tests.lab.scripted_ca.settings import ALWAYS
from tests.support.ca_clients import Caller, csr_for
from tests.support.operations import Machine, reached_at

LETSENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
NAMES = parse_identifiers(["a.example"])


class Meanwhile(SteerableClock):
    """A clock on which something happens while the first one waits, in another thread."""

    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__()
        self._happens = happens
        self._once = threading.Lock()

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        if self._once.acquire(blocking=False):
            with ThreadPoolExecutor(1) as other:
                other.submit(self._happens).result()
        return super().wait(stop, seconds)


@pytest.mark.parametrize(("status", "seconds"), [(503, 30), (429, 30), (503, 119)])
def test_time_that_a_ca_asks_for_is_given_by_who_did_not_hear_of_it(
    ca: ScriptedCA, status: int, seconds: int
) -> None:
    """While one waits to try again, another does not ask either."""
    clients: list[AcmeClient] = []
    clock = Meanwhile(lambda: clients[0].new_order(NAMES))
    caller = Caller(ca.directory_url, ca.ca_bundle, clock)
    with caller.registered() as client:
        clients.append(client)
        ca.script("new-order", response(status, "busy", {"Retry-After": str(seconds)}))

        client.new_order(NAMES)

    # The other one waited as long, and was let through then, with who had been refused after it.
    assert clock.waits[0] == pytest.approx(seconds)
    assert ca.count("new-order") == 3


@pytest.mark.parametrize("status", [503, 429])
def test_a_retry_after_of_hours_is_not_waited_for(
    ca: ScriptedCA, client: AcmeClient, status: int
) -> None:
    ca.script("new-order", response(status, "busy", {"Retry-After": "7200"}))
    kind = CaUnavailable if status == 503 else RateLimited
    with pytest.raises(kind):
        client.new_order(NAMES)
    mark = ca.count()

    with pytest.raises(kind, match="was not sent") as refused:
        client.order(f"{ca.directory_url}/order/1")

    assert refused.value.retry_after == pytest.approx(7200)
    assert ca.count() == mark


def test_what_limits_one_account_or_name_holds_up_no_other_request(
    ca: ScriptedCA, client: AcmeClient, clock: SteerableClock
) -> None:
    order = client.new_order(NAMES)
    ca.script("new-order", problem("rateLimited", 429, "too many", retry_after=3600))
    with pytest.raises(RateLimited):
        client.new_order(parse_identifiers(["b.example"]))

    assert client.order(order.url).status == "pending"
    assert clock.waits == []


def test_a_documented_rate_is_kept_by_all_threads_together(
    ca: ScriptedCA, clock: SteerableClock
) -> None:
    documented_limits = DocumentedLimits(rates={Resource.DIRECTORY: Rate(2, 1)}, others=Rate(10, 5))
    caller = Caller(ca.directory_url, ca.ca_bundle, clock)
    with AcmeClient(
        Endpoint(ca.directory_url, str(ca.ca_bundle)),
        clock=clock,
        stop=threading.Event(),
        notify=lambda *_: None,
        key=caller.key,
        documented_limits=documented_limits,
    ) as nobody:
        account = nobody.new_account([], terms_agreed=True)
        client = nobody.with_key(caller.key, account.url)
        order = client.new_order(NAMES)
        begun = clock.monotonic()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: client.order(order.url), range(40)))
    # 40 requests, of which a few may go at once.
    assert clock.monotonic() - begun >= (40 - 5) / 10 - 0.001


def test_an_order_is_done_soon_after_its_validation_and_when_the_retry_after_is_over(
    ca: ScriptedCA, caller: Caller, client: AcmeClient, clock: SteerableClock
) -> None:
    """As at Let's Encrypt: validation takes a while, then the order is processing for seconds."""
    ca.finalize_polls, ca.retry_after = 1, 3
    order = client.new_order(NAMES)
    validated = clock.monotonic() + 1.5

    def pending_until_then(order: dict[str, Any]) -> None:
        if order["status"] == "ready" and clock.monotonic() < validated:
            order["status"] = "pending"

    ca.on("order", pending_until_then, times=ALWAYS)
    ready = caller.prove(client, order)
    waited = clock.monotonic()
    done = client.finalize(ready, csr_for(NAMES), deadline=caller.deadline)

    assert done.status == "valid"
    assert validated <= waited <= validated + 0.4
    assert clock.monotonic() == pytest.approx(waited + 3 + 3)  # processing, still processing
    assert ca.count("order") < 15


def test_all_orders_that_wait_for_a_ca_share_how_often_it_is_asked(clock: SteerableClock) -> None:
    """However many networks, one for each key, the orders are of."""
    nobody = threading.Event()
    network = Network(Endpoint(LETSENCRYPT), clock=clock, stop=nobody, notify=lambda *_: None)
    with ExitStack() as orders:
        for _ in range(99):
            orders.enter_context(PollTimer(network.at_most(60), deadline=60))
        with PollTimer(network, deadline=60) as timer:
            clock.advance(5)
            timer.wait(None)
    with PollTimer(network, deadline=60) as timer:
        clock.advance(1)
        timer.wait(None)

    assert clock.waits == [pytest.approx(2.0), pytest.approx(0.3)]


def test_a_run_goes_on_when_an_overloaded_ca_has_recovered(machine: Machine) -> None:
    for number in range(6):
        machine.issue(f"n{number}.example")
    machine.pass_time(timedelta(days=61))
    machine.ca.script("new-order", response(503, "busy", {"Retry-After": "20"}), times=2)

    report = machine.renew()

    assert [each.action for each in report.outcomes] == ["issued"] * 6


def test_a_run_keeps_to_what_a_known_ca_documents(by_ari: Machine) -> None:
    by_ari.endpoints = {LETSENCRYPT: reached_at(by_ari.ca)}
    with by_ari.run() as run:
        client = run.client(LETSENCRYPT, None)
        begun = by_ari.clock.monotonic()
        for _ in range(1200):
            with suppress(RenewalInfoUnavailable):
                client.renewal_info("none")
    # 1,000 a second, and 100 at once.
    assert by_ari.clock.monotonic() - begun >= 1.0
