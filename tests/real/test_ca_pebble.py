"""The client against Pebble: whole issuances, and how many requests each one takes."""

import http.server
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl.ca.client import AccountKey, AcmeClient, ExternalAccount
from certctl.model.ca import AccountKeyType, Order
from certctl.model.errors import AccountError, AcmeError, EabRequired, ValidationFailed
from certctl.model.names import parse_identifiers
from certctl.model.spec import KeyType
from certctl.rules.keys import generate_key
from certctl.rules.x509 import build_csr
from certctl.system.clock import SystemClock
from tests.conftest import EAB_KEYS
from tests.lab.pebble import ChallengeTestServer, PebbleServer
from tests.lab.programs import require
from tests.support.ca_clients import Caller, csr_for, new_account_key, open_authorizations


class ChallengeServer(http.server.ThreadingHTTPServer):
    """Answers HTTP-01 challenges, and tells when it was asked for all of them."""

    request_queue_size = 128

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Challenge)
        self.answers: dict[str, str] = {}
        self.asked: set[str] = set()
        self.changed = threading.Condition()


class _Challenge(http.server.BaseHTTPRequestHandler):
    server: ChallengeServer

    def do_GET(self) -> None:
        token = self.path.rpartition("/")[2]
        answer = self.server.answers.get(token, "").encode()
        self.send_response(200 if answer else 404)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        with self.server.changed:
            self.server.asked.add(token)
            self.server.changed.notify_all()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@contextmanager
def serving(pebble: PebbleServer) -> Iterator[ChallengeServer]:
    with ChallengeServer(pebble.http_port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def caller_of(pebble: PebbleServer) -> Caller:
    return Caller(pebble.directory_url, pebble.ca_bundle, SystemClock())


def hasty_caller_of(pebble: PebbleServer) -> Caller:
    """One whose waits take no time: for what Pebble does at once, or not at all."""
    return Caller(pebble.directory_url, pebble.ca_bundle)


def prove(server: ChallengeServer, caller: Caller, client: AcmeClient, order: Order) -> Order:
    """What a stand-alone solver does: serve, answer, wait until the CA has looked."""
    challenges = [each.challenge("http-01") for each in open_authorizations(client, order)]
    tokens = [each.token for each in challenges if each is not None and each.token is not None]
    server.answers.update({token: client.key_authorization(token) for token in tokens})
    for challenge in challenges:
        assert challenge is not None
        client.answer(challenge)
    with server.changed:
        server.changed.wait_for(lambda: server.asked >= set(tokens), timeout=30)
    return client.await_ready(order, deadline=caller.deadline)


def issue(server: ChallengeServer, caller: Caller, client: AcmeClient, *names: str) -> Order:
    identifiers = parse_identifiers(names)
    ready = prove(server, caller, client, client.new_order(identifiers))
    return client.finalize(ready, csr_for(identifiers), deadline=caller.deadline)


def names_in(pem: bytes) -> set[str]:
    leaf = x509.load_pem_x509_certificates(pem)[0]
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return set(found.value.get_values_for_type(x509.DNSName))


@pytest.mark.parametrize("count", [1, 10])
def test_a_warm_issuance_takes_nine_requests_and_two_for_each_name_more(
    pebble: PebbleServer, count: int
) -> None:
    caller = caller_of(pebble)
    with caller.registered() as client:
        url = client.account_url
    names = [f"n{number}.count-{count}.test" for number in range(count)]
    before = pebble.request_count()
    with serving(pebble) as server, caller.client(url) as client:
        order = issue(server, caller, client, *names)
        pem = next(client.chains(order))
    sent = [each.path.split("/")[1] for each in pebble.requests(since=before)]
    assert names_in(pem) == set(names)
    assert len(sent) <= 7 + 2 * count + (0 if count == 1 else 2), sent


def test_half_of_all_nonces_are_refused(pebble_bad_nonces: PebbleServer) -> None:
    caller = caller_of(pebble_bad_nonces)
    with serving(pebble_bad_nonces) as server, caller.registered() as client:
        order = issue(server, caller, client, "a.nonces.test", "b.nonces.test", "c.nonces.test")
        assert names_in(next(client.chains(order))) == {
            "a.nonces.test",
            "b.nonces.test",
            "c.nonces.test",
        }
    assert caller.retries != []


def test_validation_that_takes_seconds_is_waited_for(pebble_slow: PebbleServer) -> None:
    caller = caller_of(pebble_slow)
    with serving(pebble_slow) as server, caller.registered() as client:
        order = issue(server, caller, client, "a.slow.test", "b.slow.test", "c.slow.test")
    assert order.status == "valid"


def test_many_orders_at_once_over_one_client(pebble: PebbleServer) -> None:
    caller = caller_of(pebble)
    names = [f"n{number}.parallel.test" for number in range(12)]
    with (
        serving(pebble) as server,
        caller.registered() as client,
        ThreadPoolExecutor(6) as pool,
    ):
        orders = list(pool.map(lambda name: issue(server, caller, client, name), names))
    assert {each.identifiers[0].value for each in orders} == set(names)
    assert caller.retries == []


def test_names_that_cannot_be_validated_are_told_one_by_one(pebble: PebbleServer) -> None:
    caller = caller_of(pebble)
    with caller.registered() as client:
        order = client.new_order(parse_identifiers(["a.fails.test", "b.fails.test"]))
        for authorization in open_authorizations(client, order):
            challenge = authorization.challenge("http-01")
            assert challenge is not None
            client.answer(challenge)
        with pytest.raises(ValidationFailed) as failure:
            client.await_ready(order, deadline=caller.deadline)
    assert {name for name, _ in failure.value.reasons} == {"a.fails.test", "b.fails.test"}
    assert all("connection refused" in reason for _, reason in failure.value.reasons)


def test_a_wrong_answer_is_told_in_the_words_of_the_ca(pebble: PebbleServer) -> None:
    caller = caller_of(pebble)
    with serving(pebble), caller.registered() as client:
        order = client.new_order(parse_identifiers(["wrong.test"]))
        challenge = open_authorizations(client, order)[0].challenge("http-01")
        assert challenge is not None
        client.answer(challenge)
        with pytest.raises(ValidationFailed, match=r"wrong\.test: .*\[unauthorized\]"):
            client.await_ready(order, deadline=caller.deadline)


def test_an_authorization_is_given_up_once(pebble: PebbleServer) -> None:
    with caller_of(pebble).registered() as client:
        order = client.new_order(parse_identifiers(["given-up.test"]))
        assert client.deactivate(order.authorization_urls[0]) is True
        assert client.authorization(order.authorization_urls[0]).status == "deactivated"


@pytest.mark.parametrize("kind", list(AccountKeyType))
def test_a_key_change_holds(pebble: PebbleServer, kind: AccountKeyType) -> None:
    caller, new_key = hasty_caller_of(pebble), new_account_key(kind)
    with caller.registered() as client:
        assert client.key_in_use(new_key) is AccountKey.OLD
        client.change_key(new_key)
        assert client.key_in_use(new_key) is AccountKey.NEW
        assert client.with_key(new_key, client.account_url).account().status == "valid"
        with pytest.raises(AcmeError):
            client.new_order(parse_identifiers(["old-key.test"]))


def test_a_key_that_another_account_has_is_refused(pebble: PebbleServer) -> None:
    other = hasty_caller_of(pebble)
    with (
        other.registered(),
        hasty_caller_of(pebble).registered() as client,
        pytest.raises(AccountError) as refusal,
    ):
        client.change_key(other.key)
    assert refusal.value.code == "acme.key_in_use"


def test_an_account_is_found_again_updated_and_deactivated(pebble: PebbleServer) -> None:
    with caller_of(pebble).registered() as client:
        again = client.new_account((), terms_agreed=False, only_existing=True)
        assert (again.url, again.created) == (client.account_url, False)
        assert client.update_account(["b@example.com"]).contact == ("mailto:b@example.com",)
        assert client.account().contact == ("mailto:b@example.com",)
        assert client.deactivate_account().status == "deactivated"
        with pytest.raises(AccountError):
            client.new_order(parse_identifiers(["deactivated.test"]))


def test_an_account_that_was_never_registered(pebble: PebbleServer) -> None:
    with caller_of(pebble).client() as client, pytest.raises(AccountError) as refusal:
        client.new_account((), terms_agreed=False, only_existing=True)
    assert refusal.value.type == "accountDoesNotExist"


def test_an_external_account_is_bound(pebble_eab: PebbleServer) -> None:
    (kid, hmac_key), *_ = EAB_KEYS.items()
    with caller_of(pebble_eab).client() as client:
        assert client.directory.external_account_required
        with pytest.raises(EabRequired):
            client.new_account((), terms_agreed=True)
        with pytest.raises(AcmeError):
            client.new_account((), terms_agreed=True, eab=ExternalAccount(kid, "AAAA"))
        state = client.new_account((), terms_agreed=True, eab=ExternalAccount(kid, hmac_key))
    assert state.created


@pytest.mark.parametrize("by", ["account", "certificate"])
def test_a_certificate_is_revoked_once(pebble: PebbleServer, by: str) -> None:
    caller, identifiers = caller_of(pebble), parse_identifiers([f"revoked-by-{by}.test"])
    key = generate_key(KeyType.ECDSA_P256)
    with serving(pebble) as server, caller.registered() as client:
        ready = prove(server, caller, client, client.new_order(identifiers))
        csr = build_csr(key, identifiers)
        order = client.finalize(ready, csr, deadline=caller.deadline)
        leaf = x509.load_pem_x509_certificates(next(client.chains(order)))[0]
        certificate_key = key if by == "certificate" else None
        der = leaf.public_bytes(Encoding.DER)
        assert client.revoke(der, 1, certificate_key=certificate_key) is True
        assert client.revoke(der, 1, certificate_key=certificate_key) is False
    assert pebble.certificate_status(leaf.serial_number)["Status"] == "Revoked"


def test_strict_pebble_with_other_chains(
    challenge_dns: ChallengeTestServer, tmp_path: Path
) -> None:
    require("pebble")
    with PebbleServer(
        directory=tmp_path,
        dns_server=challenge_dns.dns_address,
        strict=True,
        alternate_roots=2,
        authz_reuse=100,
    ) as pebble:
        caller = caller_of(pebble)
        with serving(pebble) as server, caller.registered() as client:
            first = issue(server, caller, client, "strict.test")
            assert len(set(client.chains(first))) == 3
            # The authorization is valid already, and the order born ready or soon to be.
            second = client.new_order(parse_identifiers(["strict.test"]))
            assert open_authorizations(client, second) == []
            assert client.await_ready(second, deadline=caller.deadline).status == "ready"
