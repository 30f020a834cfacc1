"""Faults of the development CA, on request; and certctl's client in the face of them."""

import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from random import Random

import pytest

from certctl.challenges.dns01 import txt_value
from certctl.devca.faults import Faults
from certctl.devca.server import DevCa
from certctl.model.errors import AcmeError, CaUnavailable, RateLimited
from certctl.model.names import parse_identifiers
from tests.integration.devca_client import RawClient
from tests.support.ca_clients import Caller, csr_for


@pytest.fixture
def ca() -> Iterator[DevCa]:
    with DevCa(None, random_source=Random(7)) as ca:
        yield ca
    assert ca.internal_errors == []


@pytest.fixture
def client(ca: DevCa) -> RawClient:
    client = RawClient(ca)
    client.register()
    return client


@pytest.mark.parametrize(
    ("fault", "status", "problem"),
    [
        ("bad-nonce", 400, "badNonce"),
        ("server-error", 500, "serverInternal"),
        ("unavailable", 503, "serverInternal"),
        ("rate-limited", 429, "rateLimited"),
    ],
)
def test_a_fault_occurs_as_often_as_requested(
    client: RawClient, fault: str, status: int, problem: str
) -> None:
    client.manage("POST", "faults", **{fault: 100, "times": 2, "retry-after": "7"})

    answers = [client.post(str(client.kid)) for _ in range(3)]

    assert [each.status for each in answers] == [status, status, 200]
    assert answers[0].problem == problem
    assert answers[0].headers["Replay-Nonce"]
    wanted = None if fault == "bad-nonce" else "7"
    assert answers[0].headers["Retry-After"] == wanted


def test_a_fault_can_be_kept_to_some_resources_and_taken_back(client: RawClient) -> None:
    client.manage("POST", "faults", unavailable=100, resources=["new-order"])

    account, order = client.post(str(client.kid)), client.order("a.example")
    shown = client.manage("GET", "faults").json
    client.manage("DELETE", "faults")

    assert (account.status, order.status) == (200, 503)
    assert order.headers["Retry-After"] is None
    assert (shown["unavailable"], shown["resources"]) == (100, ["new-order"])
    assert client.order("a.example").status == 201


def test_a_percentage_is_about_that_of_the_requests(client: RawClient) -> None:
    client.ca.settings.faults = Faults(server_error=30)

    statuses = [client.post(str(client.kid)).status for _ in range(100)]

    assert 15 <= statuses.count(500) <= 45


def test_an_error_can_be_a_page_of_a_load_balancer(client: RawClient) -> None:
    client.ca.settings.faults = Faults(unavailable=100, html=True, retry_after="120")

    answer = client.post(str(client.kid))

    assert (answer.status, answer.headers["Content-Type"]) == (503, "text/html")
    assert (answer.headers["Replay-Nonce"], answer.headers["Retry-After"]) == (None, "120")
    assert b"<html>" in answer.body


def test_a_reply_can_be_lost_after_the_work_is_done(client: RawClient) -> None:
    client.ca.settings.faults = Faults(lost_reply=100, resources=("new-order",), times=1)

    with pytest.raises(http.client.RemoteDisconnected):
        client.order("a.example")
    (kept,) = client.post(client.post(str(client.kid)).json["orders"]).json["orders"]

    assert client.order("a.example").headers["Location"] == kept


def test_a_body_can_come_in_drips(client: RawClient) -> None:
    client.ca.settings.faults = Faults(drip=0.02)
    begun = time.monotonic()

    answer = client.get("directory")

    assert answer.json["newNonce"]
    assert time.monotonic() - begun > 0.2


def test_a_chain_can_be_wrong(client: RawClient) -> None:
    order = client.issue("a.example")
    right = client.post(order.json["certificate"]).body
    client.ca.settings.faults = Faults(wrong_chain=True)

    assert client.post(order.json["certificate"]).body != right


@pytest.mark.parametrize(
    "wrong",
    [
        {"nosuch": 1},
        {"bad-nonce": 101},
        {"bad-nonce": "many"},
        {"html": "perhaps"},
        {"resources": 3},
        {"processing": "soon"},
    ],
)
def test_a_fault_that_cannot_be_meant_is_refused(
    client: RawClient, wrong: dict[str, object]
) -> None:
    answer = client.manage("POST", "faults", **wrong)

    assert (answer.status, answer.problem) == (400, "malformed")
    assert client.ca.settings.faults == Faults()


def test_the_log_has_every_request_with_its_answer(client: RawClient) -> None:
    client.manage("DELETE", "requests")
    client.post(str(client.kid))
    client.order("a b.example")

    found = client.manage("GET", "requests").json

    assert found["counts"] == {"new-nonce": 2, "account": 1, "new-order": 1}
    assert [(each["resource"], each["status"]) for each in found["requests"]] == [
        *(("new-nonce", 200), ("account", 200), ("new-nonce", 200), ("new-order", 400)),
    ]
    assert client.ca.requests.count("account", "new-order") == 2


def test_a_page_in_a_browser_cannot_manage_it(client: RawClient) -> None:
    context = ssl.create_default_context(cafile=client.ca.tls_ca_bundle)
    connection = http.client.HTTPSConnection("127.0.0.1", client.ca.port, context=context)
    connection.request("POST", "/manage/faults", b'{"html": true}', {"Content-Type": "text/plain"})
    status = connection.getresponse().status
    connection.close()

    assert status == 415


def test_a_client_that_stalls_in_its_handshake_delays_no_other(client: RawClient) -> None:
    stalled = [socket.create_connection(("127.0.0.1", client.ca.port)) for _ in range(20)]
    try:
        assert client.get("directory").status == 200
    finally:
        for each in stalled:
            each.close()


# certctl's own client.


def issued(ca: DevCa, caller: Caller) -> bytes:
    """A chain, by certctl's client and the built-in zone."""
    with caller.registered() as client:
        identifiers = parse_identifiers(["a.example"])
        order = client.new_order(identifiers)
        for url in order.authorization_urls:
            found = client.authorization(url)
            challenge = found.challenge("dns-01")
            assert challenge is not None
            assert challenge.token is not None
            value = txt_value(client.key_authorization(challenge.token))
            ca.zone.add("_acme-challenge.a.example", value)
            client.answer(challenge)
        order = client.await_ready(order, deadline=caller.deadline)
        order = client.finalize(order, csr_for(identifiers), deadline=caller.deadline)
        return next(client.chains(order))


@pytest.mark.parametrize(
    "faults",
    [
        Faults(),
        Faults(bad_nonce=30),
        Faults(unavailable=20, retry_after="1"),
        Faults(server_error=20),
        Faults(unavailable=10, html=True),
        Faults(lost_reply=100, resources=("new-order", "finalize"), times=2),
        Faults(drip=0.001),
    ],
    ids=str,
)
def test_certctl_gets_its_certificate_all_the_same(ca: DevCa, faults: Faults) -> None:
    ca.settings.faults = faults
    caller = Caller(ca.directory_url, ca.tls_ca_bundle)

    assert issued(ca, caller).count(b"BEGIN CERTIFICATE") == 2


def test_certctl_waits_while_an_order_is_processed(ca: DevCa) -> None:
    ca.settings.processing = 0.1  # by the real clock; that of the client runs ahead
    caller = Caller(ca.directory_url, ca.tls_ca_bundle)

    assert b"BEGIN CERTIFICATE" in issued(ca, caller)


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (Faults(rate_limited=100, retry_after="100000"), RateLimited),
        (Faults(server_error=100), CaUnavailable),
        (Faults(bad_nonce=100), AcmeError),
    ],
    ids=["rate-limited", "server-error", "bad-nonce"],
)
def test_certctl_names_what_does_not_pass(
    ca: DevCa, faults: Faults, error: type[AcmeError]
) -> None:
    ca.settings.faults = faults

    with pytest.raises(error):
        issued(ca, Caller(ca.directory_url, ca.tls_ca_bundle))
