"""How certctl treats a CA that is busy, incomplete or hostile, over real sockets."""

import time
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certctl.ca.client import AcmeClient
from certctl.ca.documented_limits import documented_limits
from certctl.model.errors import AcmeError, BadResponse, CaUnavailable, Interrupted, OrderFailed
from certctl.model.names import parse_identifiers
from certctl.system.clock import SystemClock
from tests.lab.clock import SteerableClock
from tests.lab.scripted_ca.chains import full
from tests.lab.scripted_ca.faults import (
    Fault,
    alone,
    calls,
    delay,
    drop_connection,
    problem,
    redirect,
    response,
    setting,
    together,
    with_status,
    without_header,
)
from tests.lab.scripted_ca.server import ScriptedCA, Seen
from tests.lab.scripted_ca.settings import ALWAYS
from tests.support.ca_clients import Caller, csr_for, open_authorizations, requests_since

NAMES = parse_identifiers(["a.example", "b.example"])

SIGNED = ["new-order", "authorization", "challenge", "order", "finalize", "certificate"]


# -- overload


@pytest.mark.parametrize("wait", [None, 7])
@pytest.mark.parametrize("resource", ["new-nonce", "new-account", *SIGNED])
def test_a_busy_ca_is_asked_again_for_every_resource_whatever_it_calls_that(
    ca: ScriptedCA, caller: Caller, clock: SteerableClock, resource: str, wait: int | None
) -> None:
    """Let's Encrypt answers 503 with the type of a rate limit."""
    busy = problem("rateLimited", 503, "Service busy; retry later.", retry_after=wait)
    ca.script(resource, busy, times=3)

    with caller.registered() as client:
        caller.issue(client, "a.example", "b.example")

    assert len(ca.issued) == 1
    assert [each for each in clock.waits if each >= 7] == ([7.0] * 3 if wait else [])


def test_a_busy_ca_is_asked_again_when_a_certificate_is_revoked(
    ca: ScriptedCA, caller: Caller
) -> None:
    with caller.registered() as client:
        caller.issue(client, "a.example")
        ca.script("revoke-cert", problem("rateLimited", 503, "Service busy"), times=2)

        der = ca.issued[0].certificate.public_bytes(Encoding.DER)
        assert client.revoke(der, None) is True

    assert len(ca.revoked) == 1


def test_a_ca_that_stays_busy_is_reported_as_unavailable_not_as_a_limit(
    ca: ScriptedCA, client: AcmeClient
) -> None:
    ca.script("new-order", problem("rateLimited", 503, "Service busy; retry later."), times=8)

    with pytest.raises(CaUnavailable, match="could not process the new order: Service busy"):
        client.new_order(NAMES)


# -- pace


STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"


def test_25_names_in_one_certificate_keep_to_the_request_rates_of_staging(ca: ScriptedCA) -> None:
    names = [f"n{number}.example" for number in range(25)]
    ca.request_limits = {
        "*": (20, 20),
        "new-order": (20, 40),
        "new-nonce": (20, 10),
        "new-account": (5, 15),
        "directory": (40, 40),
    }
    caller = Caller(
        ca.directory_url, ca.ca_bundle, SystemClock(), documented_limits=documented_limits(STAGING)
    )

    with caller.registered() as client:
        caller.issue_in_parallel(client, *names)

    assert len(ca.issued) == 1
    assert ca.refused <= 3  # the network's jitter


def test_many_names_at_a_ca_with_an_unknown_limit_are_slowed_down_once_not_stopped(
    ca: ScriptedCA,
) -> None:
    ca.request_limits = {"*": (100, 20)}
    ca.script("authorization", delay(0.02), times=ALWAYS)  # far enough for parallel requests
    caller = Caller(ca.directory_url, ca.ca_bundle, SystemClock())

    with caller.registered() as client:
        caller.issue_in_parallel(client, *(f"n{number}.example" for number in range(60)))

    assert len(ca.issued) == 1
    assert 0 < ca.refused < 60


# -- server errors under load


def test_a_ca_that_fails_on_parallel_challenge_responses_gets_one_at_a_time(
    ca: ScriptedCA,
) -> None:
    ca.script("challenge", alone(0.05), times=ALWAYS, when=lambda seen: seen.payload is not None)
    caller = Caller(ca.directory_url, ca.ca_bundle, SystemClock())

    with caller.registered() as client:
        caller.issue_in_parallel(client, *(f"n{number}.example" for number in range(12)))
        mark = ca.count("challenge")
        caller.issue_in_parallel(client, *(f"m{number}.example" for number in range(12)))

    assert len(ca.issued) == 2
    # The second order goes through without a failure.
    assert ca.count("challenge") - mark == 12


def test_an_order_that_is_stuck_after_a_server_error_is_given_up_after_a_minute(
    ca: ScriptedCA, client: AcmeClient, clock: SteerableClock
) -> None:
    """The CA failed on a challenge response that it took, and validates it never."""
    ca.validated_after = ALWAYS
    ca.script("challenge", together(with_status(500), delay(0)), when=is_response)
    order = client.new_order(NAMES)
    pending = open_authorizations(client, order)
    client.answer_all([each.challenges[0] for each in pending])
    begun = clock.monotonic()

    with pytest.raises(
        OrderFailed, match=r"failed to process the challenge response for a\.example"
    ):
        client.await_ready(order, deadline=begun + 600)

    assert clock.monotonic() - begun < 120
    answered = [client.was_answered(each.challenges[0]) for each in pending]
    assert answered == [False, True]  # so that the stuck authorization is deactivated


def test_a_slow_validation_without_a_server_error_is_waited_for(
    ca: ScriptedCA, caller: Caller, client: AcmeClient, clock: SteerableClock
) -> None:
    ca.validated_after = 100
    begun = clock.monotonic()

    order = caller.prove(client, client.new_order(NAMES))

    assert order.status == "ready"
    assert clock.monotonic() - begun > 120


def is_response(seen: Seen) -> bool:
    return bool(seen.payload == {})


# -- deadlines


@pytest.mark.parametrize("resource", SIGNED)
def test_no_request_of_an_order_outlasts_its_deadline(ca: ScriptedCA, resource: str) -> None:
    """The CA does not answer; its own timeout would be 45 seconds, and each is tried again."""
    ca.script(resource, delay(300), times=ALWAYS)
    caller = Caller(ca.directory_url, ca.ca_bundle, SystemClock(), timeout=45)

    with caller.registered() as client:
        begun = time.monotonic()
        bounded = client.until(caller.clock.monotonic() + 1.0)
        with pytest.raises(AcmeError):
            caller.issue_in_parallel(bounded, "a.example", "b.example", "c.example")

    assert time.monotonic() - begun < 20
    assert ca.count(resource) <= 6


def test_slow_authorizations_are_read_side_by_side(ca: ScriptedCA) -> None:
    ca.script("authorization", delay(0.3), times=ALWAYS)
    caller = Caller(ca.directory_url, ca.ca_bundle, SystemClock())

    with caller.registered() as client:
        order = client.new_order(parse_identifiers([f"n{number}.example" for number in range(16)]))
        begun = time.monotonic()
        found = client.authorizations(order)

    assert len(found) == 16
    assert time.monotonic() - begun < 16 * 0.3


def test_a_signal_ends_a_request_that_waits_for_its_response(ca: ScriptedCA) -> None:
    caller = Caller(ca.directory_url, ca.ca_bundle, SystemClock(), timeout=45)
    with caller.registered() as client:
        ca.script("new-order", together(calls(caller.stop.set, after_processing=False), delay(300)))
        begun = time.monotonic()
        with pytest.raises(Interrupted):
            client.new_order(NAMES)

    assert time.monotonic() - begun < 20


def test_after_a_signal_authorizations_are_still_given_up(ca: ScriptedCA, caller: Caller) -> None:
    with caller.registered() as client:
        order = client.new_order(NAMES)
        caller.stop.set()
        client.deactivate_all(order.authorization_urls)

    assert sorted(ca.deactivated) == ["a.example", "b.example"]


# -- nonces


def is_head(seen: Seen) -> bool:
    return seen.method == "HEAD"


@pytest.mark.parametrize(
    "refusal",
    [
        response(405),
        response(501),
        response(404, "<html>"),
        response(403, "<html>"),
        response(500),
        problem("malformed", 400),
        redirect(),
        drop_connection(),
        without_header("Replay-Nonce"),
    ],
    ids=["405", "501", "404", "403", "500", "400", "redirect", "no response", "without a nonce"],
)
def test_a_ca_that_does_not_answer_head_with_a_nonce_is_asked_by_get(
    ca: ScriptedCA, caller: Caller, clock: SteerableClock, refusal: Fault
) -> None:
    ca.script("new-nonce", refusal, times=99, when=is_head)

    with caller.registered() as client:
        caller.issue(client, "a.example")
        ca.forget_nonces()
        caller.issue(client, "b.example")

    assert len(ca.issued) == 2
    assert [each.method for each in ca.requests if each.resource == "new-nonce"] == ["HEAD", "GET"]
    assert [each for each in clock.waits if each > 0.1] == []


# -- what a hostile CA may not do


def test_an_order_with_more_authorizations_than_names_is_refused_before_any_is_read(
    ca: ScriptedCA, client: AcmeClient
) -> None:
    mark = ca.count()
    many = [f"{ca.directory_url}/authorization/{number}" for number in range(10_000)]
    ca.on("new-order", setting(authorizations=many))

    with pytest.raises(BadResponse, match="an order that has 10000 authorizations for 2 names"):
        client.new_order(NAMES)

    assert requests_since(ca, mark) == ["new-order"]


def test_an_authorization_that_is_listed_twice_is_read_once(
    ca: ScriptedCA, client: AcmeClient
) -> None:
    def twice(order: dict[str, list[str]]) -> None:
        order["authorizations"] = order["authorizations"] * 2

    ca.on("new-order", twice)

    assert len(client.new_order(NAMES).authorization_urls) == 2


def test_a_chain_of_hundreds_of_certificates_is_refused(ca: ScriptedCA, caller: Caller) -> None:
    ca.chain = lambda issued: full(issued) * 300

    with (
        caller.registered() as client,
        pytest.raises(BadResponse, match="a chain of 600 certificates; at most 20 are accepted"),
    ):
        caller.issue(client, "a.example")


def test_of_many_alternate_chains_ten_are_downloaded(ca: ScriptedCA, caller: Caller) -> None:
    ca.alternates = 80
    with caller.registered() as client:
        order = caller.prove(client, client.new_order(NAMES))
        order = client.finalize(order, csr_for(NAMES), deadline=caller.deadline)

        assert len(list(client.chains(order))) == 1 + 10


@pytest.mark.parametrize("host", ["192.0.2.1:4000", "ca.example", "localhost.example"])
def test_a_ca_on_this_machine_cannot_send_requests_to_other_hosts_unencrypted(
    clock: SteerableClock, host: str
) -> None:
    with ScriptedCA(https=False) as ca:
        ca.authorizations_start = "valid"
        ca.on("new-order", setting(finalize=f"http://{host}/finalize"))
        with Caller(ca.directory_url, None, clock).registered() as client:
            order = client.new_order(NAMES)

            with pytest.raises(BadResponse, match="that is not https"):
                client.finalize(order, csr_for(NAMES), deadline=1)
            with pytest.raises(BadResponse, match="that is not https"):
                client.authorization(replace(order, url=f"http://{host}/x").url)
