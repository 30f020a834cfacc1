"""The scripted CA speaks ACME correctly where no fault is scripted, and each fault really arrives
where one is. Whoever trusts a test that uses it trusts this file."""

import http.server
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import acme.client
import acme.crypto_util
import acme.messages
import josepy
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.lab.scripted_ca import chains
from tests.lab.scripted_ca.faults import (
    Fault,
    calls,
    delay,
    drip,
    drop_connection,
    huge,
    problem,
    raw,
    redirect,
    removing,
    response,
    setting,
    subproblem,
    together,
    truncated,
    with_header,
    with_status,
    without_header,
)
from tests.lab.scripted_ca.issuer import certificate_id
from tests.lab.scripted_ca.jws import b64
from tests.lab.scripted_ca.raw_client import RawClient, csr_for, new_key
from tests.lab.scripted_ca.server import ScriptedCA
from tests.lab.scripted_ca.settings import ALWAYS, Failing

KEY = b"a key of thirty-two bytes or so."


@pytest.fixture
def ca() -> Iterator[ScriptedCA]:
    with ScriptedCA() as ca:
        yield ca


@pytest.fixture
def client(ca: ScriptedCA) -> Iterator[RawClient]:
    with RawClient(ca) as client:
        client.register()
        yield client


def kind_of(answer: requests.Response) -> tuple[int, str]:
    """Status and bare type of a problem document."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("urn:ietf:params:acme:error:")


def leaf_of(answer: requests.Response) -> x509.Certificate:
    return x509.load_pem_x509_certificates(answer.content)[0]


# -- the whole way, with a client that nobody here wrote


@pytest.mark.parametrize("https", [True, False])
def test_the_acme_library_issues_a_certificate_from_directory_to_chain(https: bool) -> None:
    with ScriptedCA(https=https) as ca:
        key = josepy.JWKRSA(key=rsa.generate_private_key(65537, 2048))
        bundle: Any = str(ca.ca_bundle)  # declared a bool, handed on to requests
        net = acme.client.ClientNetwork(key, verify_ssl=bundle)
        directory = acme.client.ClientV2.get_directory(ca.directory_url, net)
        client = acme.client.ClientV2(directory, net)
        client.new_account(acme.messages.NewRegistration(terms_of_service_agreed=True))
        private = ec.generate_private_key(ec.SECP256R1())
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        names = ["a.example", "*.a.example"]
        order = client.new_order(acme.crypto_util.make_csr(pem, names))
        for authorization in order.authorizations:
            challenge = next(c for c in authorization.body.challenges if c.chall.typ == "dns-01")
            client.answer_challenge(challenge, challenge.response(key))
        order = client.poll_and_finalize(order)
        net.session.close()

        leaf, intermediate = x509.load_pem_x509_certificates(order.fullchain_pem.encode())
        root = x509.load_pem_x509_certificate(ca.root_pem)
        leaf.verify_directly_issued_by(intermediate)
        intermediate.verify_directly_issued_by(root)
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert alternatives.value.get_values_for_type(x509.DNSName) == names
        assert leaf.public_key() == private.public_key()
        assert [one.serial for one in ca.issued] == [leaf.serial_number]
        assert ca.connections == 1


# -- what every signed request must have


def test_a_nonce_is_good_once_and_the_refusal_brings_a_new_one(client: RawClient) -> None:
    nonce = client.nonce()
    first = client.post(client.account_url, protected={"nonce": nonce})
    second = client.post(client.account_url, protected={"nonce": nonce})
    third = client.post(client.account_url, protected={"nonce": second.headers["Replay-Nonce"]})
    assert first.status_code == 200
    assert kind_of(second) == (400, "badNonce")
    assert third.status_code == 200


@pytest.mark.parametrize(
    ("protected", "expected"),
    [
        ({"nonce": None}, (400, "badNonce")),
        ({"nonce": "bm9uc2Vuc2U"}, (400, "badNonce")),
        ({"url": "https://127.0.0.1/elsewhere"}, (403, "unauthorized")),
        ({"alg": "none"}, (400, "badSignatureAlgorithm")),
        ({"alg": "HS256"}, (400, "badSignatureAlgorithm")),
        ({"alg": "RS256"}, (400, "malformed")),
        ({"kid": None}, (400, "malformed")),
        ({"kid": "https://127.0.0.1/account/999"}, (400, "accountDoesNotExist")),
        ({"jwk": new_key().public_key().to_json()}, (400, "malformed")),
    ],
)
def test_a_wrong_protected_header_is_refused(
    client: RawClient, protected: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert kind_of(client.post(client.account_url, protected=protected)) == expected


def test_a_signature_by_another_key_is_refused(ca: ScriptedCA, client: RawClient) -> None:
    with RawClient(ca) as stranger:
        stranger.account_url = client.account_url
        assert kind_of(stranger.post(client.account_url)) == (400, "malformed")


def test_a_signed_request_needs_its_content_type_and_method(client: RawClient) -> None:
    plain = {"Content-Type": "application/json"}
    assert kind_of(client.post(client.account_url, headers=plain)) == (415, "malformed")
    assert kind_of(client.get(client.account_url)) == (405, "malformed")


def test_a_short_rsa_key_is_a_bad_public_key(client: RawClient) -> None:
    modulus = b64((1 << 1023 | 1).to_bytes(128, "big"))
    protected = {"jwk": {"kty": "RSA", "n": modulus, "e": "AQAB"}, "kid": None}
    answer = client.post(client.directory["newAccount"], {}, protected=protected)
    assert kind_of(answer) == (400, "badPublicKey")


# -- accounts


def test_an_account_is_made_once_and_found_again(client: RawClient) -> None:
    again = client.register()
    existing = client.register(onlyReturnExisting=True)
    assert (again.status_code, existing.status_code) == (200, 200)
    assert again.headers["Location"] == existing.headers["Location"] == client.account_url


def test_an_account_requires_agreement_to_the_terms_and_valid_contacts(ca: ScriptedCA) -> None:
    with RawClient(ca) as client:
        refusals = [
            client.register(onlyReturnExisting=True),
            client.register(termsOfServiceAgreed=False),
            client.register(contact=["tel:+1"]),
            client.register(contact=["mailto:a@x.example,b@x.example"]),
        ]
    assert [kind_of(one) for one in refusals] == [
        (400, "accountDoesNotExist"),
        (403, "userActionRequired"),
        (400, "unsupportedContact"),
        (400, "invalidContact"),
    ]


def test_an_external_account_must_be_known_and_its_mac_right() -> None:
    with (
        ScriptedCA(eab_required=True, eab_keys={"kid-1": KEY}) as ca,
        RawClient(ca) as client,
        RawClient(ca) as other,
    ):
        assert client.directory["meta"]["externalAccountRequired"] is True
        missing = client.register()
        unknown = client.register(externalAccountBinding=client.binding("kid-2", KEY))
        wrong = client.register(externalAccountBinding=client.binding("kid-1", b"wrong"))
        foreign = client.register(externalAccountBinding=other.binding("kid-1", KEY))
        good = client.register(externalAccountBinding=client.binding("kid-1", KEY))
        assert kind_of(missing) == (403, "externalAccountRequired")
        assert kind_of(unknown) == kind_of(wrong) == (403, "unauthorized")
        assert kind_of(foreign) == (400, "malformed")
        assert good.status_code == 201
        assert [account.eab_kid for account in ca.accounts] == ["kid-1"]


def test_an_account_is_updated_and_deactivated_for_good(client: RawClient) -> None:
    contact = ["mailto:new@a.example"]
    updated = client.post(client.account_url, {"contact": contact})
    gone = client.post(client.account_url, {"status": "deactivated"})
    assert updated.json()["contact"] == contact
    assert gone.json()["status"] == "deactivated"
    assert kind_of(client.order("a.example")) == (401, "unauthorized")
    assert kind_of(client.register()) == (401, "unauthorized")


def test_accounts_can_be_deactivated_or_forgotten_by_the_ca(
    ca: ScriptedCA, client: RawClient
) -> None:
    ca.deactivate_accounts()
    deactivated = client.order("a.example")
    ca.forget_accounts()
    forgotten = client.order("a.example")
    assert kind_of(deactivated) == (401, "unauthorized")
    assert kind_of(forgotten) == (400, "accountDoesNotExist")


def test_new_terms_stop_an_account_until_it_agrees(ca: ScriptedCA, client: RawClient) -> None:
    ca.terms_of_service = "https://ca.example/terms/2"
    stopped = client.order("a.example")
    client.post(client.account_url, {"termsOfServiceAgreed": True})
    assert kind_of(stopped) == (403, "userActionRequired")
    assert stopped.json()["instance"] == "https://ca.example/terms/2"
    assert stopped.links["terms-of-service"]["url"] == "https://ca.example/terms/2"
    assert client.order("a.example").status_code == 201


def test_a_changed_key_replaces_the_old_one(client: RawClient) -> None:
    new = new_key()
    changed = client.change_key(new)
    with_the_old = client.post(client.account_url)
    client.key = new
    assert changed.status_code == 200
    assert kind_of(with_the_old) == (400, "malformed")
    assert client.post(client.account_url).status_code == 200


def test_a_key_in_use_is_a_conflict_that_names_its_account(
    ca: ScriptedCA, client: RawClient
) -> None:
    with RawClient(ca) as other:
        other.register()
        answer = client.change_key(other.key)
    assert answer.status_code == 409
    assert answer.headers["Location"] == other.account_url


def test_a_key_change_may_be_without_effect(ca: ScriptedCA, client: RawClient) -> None:
    ca.key_change_has_effect = False
    assert client.change_key(new_key()).status_code == 200
    assert client.post(client.account_url).status_code == 200


# -- orders and authorizations


def test_an_order_lists_what_its_names_need(client: RawClient) -> None:
    identifiers = [
        {"type": "dns", "value": "a.example"},
        {"type": "dns", "value": "*.a.example"},
        {"type": "ip", "value": "192.0.2.1"},
    ]
    answer = client.post(client.directory["newOrder"], {"identifiers": identifiers})
    authorizations = [client.post(url).json() for url in answer.json()["authorizations"]]
    listed = client.post(client.account_url + "/orders")
    orders = client.post(client.post(client.account_url).json()["orders"]).json()
    assert (answer.status_code, answer.json()["status"]) == (201, "pending")
    assert answer.json()["identifiers"] == identifiers
    assert [one["identifier"]["value"] for one in authorizations] == [
        "a.example",
        "a.example",
        "192.0.2.1",
    ]
    assert [one.get("wildcard", False) for one in authorizations] == [False, True, False]
    assert [{c["type"] for c in one["challenges"]} for one in authorizations] == [
        {"http-01", "dns-01", "tls-alpn-01"},
        {"dns-01"},
        {"http-01", "tls-alpn-01"},
    ]
    assert listed.status_code == 404
    assert orders == {"orders": [answer.headers["Location"]]}


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ({"type": "email", "value": "a@b.example"}, "unsupportedIdentifier"),
        ({"type": "dns", "value": "A.example"}, "malformed"),
        ({"type": "ip", "value": "2001:0db8::1"}, "malformed"),
    ],
)
def test_an_order_for_a_name_that_no_rfc_allows_is_refused(
    client: RawClient, identifier: dict[str, str], expected: str
) -> None:
    answer = client.post(client.directory["newOrder"], {"identifiers": [identifier]})
    assert kind_of(answer) == (400, expected)


def test_an_order_cannot_be_read_by_another_account(ca: ScriptedCA, client: RawClient) -> None:
    order = client.order("a.example")
    with RawClient(ca) as other:
        other.register()
        assert kind_of(other.post(order.headers["Location"])) == (403, "unauthorized")


def test_an_order_may_be_born_ready(ca: ScriptedCA, client: RawClient) -> None:
    ca.authorizations_start = "valid"
    assert client.order("a.example").json()["status"] == "ready"


def test_some_names_may_be_valid_already(ca: ScriptedCA, client: RawClient) -> None:
    ca.already_valid = {"a.example"}
    order = client.order("a.example", "b.example").json()
    statuses = [client.post(url).json()["status"] for url in order["authorizations"]]
    assert (order["status"], statuses) == ("pending", ["valid", "pending"])


def test_the_same_pending_order_may_come_twice(ca: ScriptedCA, client: RawClient) -> None:
    ca.reuse_pending_orders = True
    first, second = client.order("a.example", "b.example"), client.order("b.example", "a.example")
    assert first.headers["Location"] == second.headers["Location"]
    assert client.order("c.example").headers["Location"] != first.headers["Location"]


def test_shuffled_lists_agree_in_no_order(ca: ScriptedCA, client: RawClient) -> None:
    straight = client.order("a.example", "b.example", "c.example").json()
    ca.shuffled = True
    order = client.order("a.example", "b.example", "c.example").json()
    named = [one["value"] for one in order["identifiers"]]
    authorizations = [client.post(url).json() for url in order["authorizations"]]
    assert named == ["c.example", "b.example", "a.example"]
    assert [one["identifier"]["value"] for one in authorizations] == [
        "b.example",
        "c.example",
        "a.example",
    ]
    ca.shuffled = False
    unshuffled = client.post(straight["authorizations"][0]).json()["challenges"]
    kinds = [one["type"] for one in authorizations[0]["challenges"]]
    assert kinds == [one["type"] for one in unshuffled][::-1]


def test_profiles_are_offered_echoed_and_refused(ca: ScriptedCA, client: RawClient) -> None:
    ca.profiles = {"shortlived": "for six days"}
    assert client.get(ca.directory_url).json()["meta"]["profiles"] == ca.profiles
    assert client.order("a.example", profile="shortlived").json()["profile"] == "shortlived"
    assert kind_of(client.order("a.example", profile="other")) == (400, "invalidProfile")


def test_unknown_challenges_and_short_tokens_come_as_set(ca: ScriptedCA, client: RawClient) -> None:
    ca.extra_challenges = [{"type": "telepathy-01", "status": "pending"}]
    ca.token_bytes = 4
    order = client.order("a.example").json()
    challenges = client.post(order["authorizations"][0]).json()["challenges"]
    assert challenges[-1] == {"type": "telepathy-01", "status": "pending"}
    assert len(challenges[0]["token"]) == 6


# -- validation


def test_a_challenge_is_answered_once(client: RawClient) -> None:
    order = client.order("a.example").json()
    assert client.answer(order["authorizations"][0]).json()["status"] == "valid"
    assert kind_of(client.answer(order["authorizations"][0])) == (400, "malformed")


@pytest.mark.parametrize(
    ("how", "authorization_status", "challenge_shows_error", "order_status"),
    [
        ("invalid", "invalid", True, "invalid"),
        ("invalid without error", "invalid", False, "invalid"),
        ("refused", "invalid", True, "invalid"),
        ("stays pending", "pending", True, "pending"),
        ("deactivated", "deactivated", False, "invalid"),
        ("expired", "expired", False, "invalid"),
        ("revoked", "revoked", False, "invalid"),
        ("unknown", "unknown", False, "pending"),
    ],
)
def test_validation_fails_as_scripted(
    ca: ScriptedCA,
    client: RawClient,
    how: Failing,
    authorization_status: str,
    challenge_shows_error: bool,
    order_status: str,
) -> None:
    ca.fail("b.example", how)
    order = client.order("a.example", "b.example")
    fine, failing = order.json()["authorizations"]
    assert client.answer(fine).json()["status"] == "valid"
    assert client.answer(failing).status_code == (400 if how == "refused" else 200)
    authorization = client.post(failing).json()
    assert authorization["status"] == authorization_status
    assert any("error" in c for c in authorization["challenges"]) == challenge_shows_error
    polled = client.post(order.headers["Location"]).json()
    assert polled["status"] == order_status
    assert ("error" in polled) == (order_status == "invalid")


def test_validation_may_take_some_polls_and_says_when_to_ask_again(
    ca: ScriptedCA, client: RawClient
) -> None:
    ca.validated_after, ca.retry_after = 2, "Wed, 21 Oct 2026 07:28:00 GMT"
    order = client.order("a.example")
    answered = client.answer(order.json()["authorizations"][0])
    polls = [client.post(order.headers["Location"]) for _ in range(3)]
    assert answered.json()["status"] == "processing"
    assert [poll.json()["status"] for poll in polls] == ["pending", "pending", "ready"]
    assert [poll.headers.get("Retry-After") for poll in (answered, *polls)] == [
        "Wed, 21 Oct 2026 07:28:00 GMT",
        "Wed, 21 Oct 2026 07:28:00 GMT",
        "Wed, 21 Oct 2026 07:28:00 GMT",
        None,
    ]


@pytest.fixture
def token_server() -> Iterator[http.server.ThreadingHTTPServer]:
    """Answers http-01 for good.example alone; `thumbprint` is set by the test."""

    class Tokens(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = self.path.rpartition("/")[2]
            is_good = self.headers["Host"] == "good.example"
            thumbprint = getattr(self.server, "thumbprint", "")
            body = f"{token}.{thumbprint}\n" if is_good else "something else"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tokens) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_http01_is_really_fetched_where_wanted(
    ca: ScriptedCA, client: RawClient, token_server: http.server.ThreadingHTTPServer
) -> None:
    ca.validate_http01 = ("127.0.0.1", token_server.server_address[1])
    vars(token_server)["thumbprint"] = b64(client.key.thumbprint())
    order = client.order("good.example", "bad.example").json()
    outcomes = []
    for url in order["authorizations"]:
        client.answer(url, "http-01")
        while (authorization := client.post(url).json())["status"] == "pending":
            time.sleep(0.01)
        errors = [c["error"]["type"] for c in authorization["challenges"] if "error" in c]
        outcomes.append((authorization["status"], errors))
    assert outcomes == [
        ("valid", []),
        ("invalid", ["urn:ietf:params:acme:error:unauthorized"]),
    ]


def test_http01_that_nobody_serves_is_a_connection_error(ca: ScriptedCA, client: RawClient) -> None:
    with socket.socket() as bound_but_deaf:
        bound_but_deaf.bind(("127.0.0.1", 0))
        ca.validate_http01 = ("127.0.0.1", bound_but_deaf.getsockname()[1])
        url = client.order("a.example").json()["authorizations"][0]
        client.answer(url, "http-01")
        while (authorization := client.post(url).json())["status"] == "pending":
            time.sleep(0.01)
    errors = [one["error"]["type"] for one in authorization["challenges"] if "error" in one]
    assert errors == ["urn:ietf:params:acme:error:connection"]


def test_a_deactivated_authorization_is_remembered_by_name(
    ca: ScriptedCA, client: RawClient
) -> None:
    order = client.order("a.example", "*.b.example").json()
    for url in order["authorizations"]:
        assert client.post(url, {"status": "deactivated"}).json()["status"] == "deactivated"
    assert ca.deactivated == ["a.example", "*.b.example"]


# -- finalization and download


def test_an_order_is_not_ready_before_its_authorizations(client: RawClient) -> None:
    order = client.order("a.example").json()
    assert kind_of(client.finalize(order, "a.example")) == (403, "orderNotReady")


def test_a_request_for_other_names_or_by_the_account_key_is_refused(
    ca: ScriptedCA,
) -> None:
    ca.authorizations_start = "valid"
    account_key = ec.generate_private_key(ec.SECP256R1())
    with RawClient(ca, josepy.JWKEC(key=account_key)) as client:
        client.register()
        order = client.order("a.example").json()
        by_account_key = {"csr": csr_for("a.example", key=account_key)}
        assert kind_of(client.finalize(order, "b.example")) == (400, "badCSR")
        assert kind_of(client.post(order["finalize"], by_account_key)) == (400, "badCSR")
        assert kind_of(client.post(order["finalize"], {"csr": "AAAA"})) == (400, "badCSR")
        assert client.finalize(order, "a.example").json()["status"] == "valid"


def test_finalize_may_take_some_polls(ca: ScriptedCA, client: RawClient) -> None:
    ca.authorizations_start, ca.finalize_polls = "valid", 2
    order = client.order("a.example")
    finalized = client.finalize(order.json(), "a.example").json()
    polls = [client.post(order.headers["Location"]).json() for _ in range(3)]
    statuses = [one["status"] for one in (finalized, *polls)]
    assert statuses == ["processing", "processing", "processing", "valid"]
    assert client.post(polls[-1]["certificate"]).status_code == 200


@pytest.mark.parametrize("says_why", [True, False])
def test_finalize_may_fail_with_and_without_a_reason(
    ca: ScriptedCA, client: RawClient, says_why: bool
) -> None:
    ca.authorizations_start = "valid"
    ca.finalize_succeeds, ca.order_errors = False, says_why
    order = client.finalize(client.order("a.example").json(), "a.example").json()
    assert (order["status"], "error" in order) == ("invalid", says_why)


def test_a_certificate_lives_as_long_as_set(ca: ScriptedCA, client: RawClient) -> None:
    ca.lifetime, ca.backdated = timedelta(days=6), timedelta(0)
    leaf = leaf_of(client.post(client.issue("a.example")["certificate"]))
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=6)


@pytest.mark.parametrize(
    ("chain", "blocks"),
    [
        (chains.full, 2),
        (chains.leaf_only, 1),
        (chains.with_root, 3),
        (chains.backwards, 2),
        (chains.wrong_key, 2),
        (chains.wrong_names, 2),
        (chains.wrong_intermediate, 2),
        (chains.with_private_key, 3),
    ],
)
def test_the_download_is_the_chain_that_is_scripted(
    ca: ScriptedCA, client: RawClient, chain: chains.Chain, blocks: int
) -> None:
    honest = client.post(client.issue("a.example")["certificate"])
    ca.chain = chain
    answer = client.post(client.issue("a.example")["certificate"])
    issued, downloaded = ca.issued[-1].certificate, leaf_of(answer)
    assert leaf_of(honest).issuer == ca.issued[0].issuer.intermediate.subject
    assert answer.content.count(b"-----BEGIN") == blocks
    is_leaf = downloaded == issued
    assert is_leaf == (chain not in (chains.backwards, chains.wrong_key, chains.wrong_names))
    is_same_key = downloaded.public_key() == issued.public_key()
    assert is_same_key == (chain not in (chains.backwards, chains.wrong_key))
    assert (b"PRIVATE KEY" in answer.content) == (chain is chains.with_private_key)


def test_alternate_chains_lead_to_other_roots_and_one_may_be_missing(
    ca: ScriptedCA, client: RawClient
) -> None:
    ca.alternates = 2
    ca.script("alternate", response(404))
    answer = client.post(client.issue("a.example")["certificate"])
    links = requests.utils.parse_header_links(answer.headers["Link"])
    urls = [link["url"] for link in links if link["rel"] == "alternate"]
    missing, other = [client.post(url) for url in urls]
    leaf, intermediate = x509.load_pem_x509_certificates(other.content)
    leaf.verify_directly_issued_by(intermediate)
    assert missing.status_code == 404
    assert leaf == ca.issued[0].certificate
    assert intermediate.issuer.rfc4514_string() == "CN=Scripted Root X3"


# -- revocation and renewal information


def test_a_certificate_is_revoked_once_by_its_account(ca: ScriptedCA, client: RawClient) -> None:
    client.issue("a.example")
    payload = {"certificate": b64(ca.issued[0].certificate.public_bytes(Encoding.DER))}
    url = client.directory["revokeCert"]
    assert kind_of(client.post(url, {**payload, "reason": 9})) == (400, "badRevocationReason")
    assert client.post(url, {**payload, "reason": 4}).status_code == 200
    assert kind_of(client.post(url, payload)) == (400, "alreadyRevoked")
    assert [(one.certificate, one.reason) for one in ca.revoked] == [(ca.issued[0], 4)]


def test_a_certificate_is_revoked_by_its_own_key_but_not_by_a_strangers(
    ca: ScriptedCA, client: RawClient
) -> None:
    own_key = ec.generate_private_key(ec.SECP256R1())
    ca.authorizations_start = "valid"
    order = client.order("a.example").json()
    client.post(order["finalize"], {"csr": csr_for("a.example", key=own_key)})
    payload = {"certificate": b64(ca.issued[0].certificate.public_bytes(Encoding.DER))}
    url = client.directory["revokeCert"]
    assert kind_of(client.post(url, payload, key=new_key())) == (403, "unauthorized")
    assert client.post(url, payload, key=josepy.JWKEC(key=own_key)).status_code == 200


def test_renewal_information_gives_the_window_that_is_set(
    ca: ScriptedCA, client: RawClient
) -> None:
    leaf = leaf_of(client.post(client.issue("a.example")["certificate"]))
    url = f"{client.directory['renewalInfo']}/{certificate_id(leaf)}"
    natural = client.get(url)
    start = datetime(2026, 10, 21, 7, 28, tzinfo=UTC)
    ca.renewal_window, ca.renewal_retry_after = (start, start + timedelta(hours=1)), 60
    ca.renewal_explanation = "https://ca.example/why"
    scripted = client.get(url)
    window = natural.json()["suggestedWindow"]
    assert leaf.not_valid_before_utc.isoformat() < window["start"] < window["end"]
    assert window["end"] < leaf.not_valid_after_utc.isoformat()
    assert natural.headers["Retry-After"] == "21600"
    assert scripted.json() == {
        "suggestedWindow": {"start": "2026-10-21T07:28:00Z", "end": "2026-10-21T08:28:00Z"},
        "explanationURL": "https://ca.example/why",
    }
    assert scripted.headers["Retry-After"] == "60"


def test_a_revoked_certificate_should_have_been_renewed(ca: ScriptedCA, client: RawClient) -> None:
    client.issue("a.example")
    ca.revoke(ca.issued[0])
    url = f"{client.directory['renewalInfo']}/{ca.issued[0].certificate_id}"
    end = datetime.fromisoformat(client.get(url).json()["suggestedWindow"]["end"])
    assert end < datetime.now(UTC)


def test_renewal_information_of_an_unknown_certificate_is_404(client: RawClient) -> None:
    answer = client.get(client.directory["renewalInfo"] + "/AAAA.AAAA")
    assert kind_of(answer) == (404, "malformed")


def test_a_certificate_id_is_that_of_rfc_9773() -> None:
    # the serial of RFC 9773 §4.1, 00:87:65:43:21, whose leading zero byte must stay
    serial = 0x87654321
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    now = datetime.now(UTC)
    identifier = bytes.fromhex("69885b6b87467b4ce50ca1b26ecd6f6cf7ab9c2d")
    extension = x509.AuthorityKeyIdentifier(identifier, None, None)
    builder = x509.CertificateBuilder(name, name, key.public_key(), serial, now, now)
    certificate = builder.add_extension(extension, critical=False).sign(key, SHA256())
    assert certificate_id(certificate) == "aYhba4dGe0zlDKGybs1vbPernC0.AIdlQyE"


def test_a_certificate_is_replaced_once(ca: ScriptedCA, client: RawClient) -> None:
    client.issue("a.example")
    replaces = ca.issued[0].certificate_id
    first = client.order("a.example", replaces=replaces)
    second = client.order("a.example", replaces=replaces)
    assert first.json()["replaces"] == replaces
    assert kind_of(second) == (409, "alreadyReplaced")
    assert kind_of(client.order("a.example", replaces="AA.AA")) == (400, "malformed")


def test_a_ca_without_renewal_information_ignores_replaces(
    ca: ScriptedCA, client: RawClient
) -> None:
    ca.renewal_info = False
    assert "renewalInfo" not in client.get(ca.directory_url).json()
    assert "replaces" not in client.order("a.example", replaces="AA.AA").json()


# -- faults: answers in place of the CA's


def test_a_scripted_response_comes_as_it_is_and_nothing_is_processed(
    ca: ScriptedCA, client: RawClient
) -> None:
    ca.script("new-order", response(503, "<html>", {"Content-Type": "text/html"}), times=2)
    answers = [client.order("a.example") for _ in range(3)]
    assert [one.status_code for one in answers] == [503, 503, 201]
    assert (answers[0].text, answers[0].headers["Content-Type"]) == ("<html>", "text/html")
    assert "Replay-Nonce" not in answers[0].headers
    assert ca.count("new-order") == 3
    assert answers[2].json()["authorizations"] == [ca.directory_url[:-9] + "authorization/1"]


def test_a_scripted_problem_has_all_that_a_ca_may_say(ca: ScriptedCA, client: RawClient) -> None:
    fault = problem(
        "rateLimited",
        429,
        "too many",
        subproblems=[subproblem("b.example", "caa", "no")],
        retry_after="garbage",
        help_url="https://ca.example/limits",
    )
    ca.script("new-order", fault)
    answer = client.order("a.example", "b.example")
    assert kind_of(answer) == (429, "rateLimited")
    assert answer.json()["detail"] == "too many"
    assert answer.json()["subproblems"] == [
        {
            "type": "urn:ietf:params:acme:error:caa",
            "detail": "no",
            "identifier": {"type": "dns", "value": "b.example"},
        }
    ]
    assert answer.headers["Retry-After"] == "garbage"
    assert answer.links["help"]["url"] == "https://ca.example/limits"
    nonce = {"nonce": answer.headers["Replay-Nonce"]}
    assert client.post(client.account_url, protected=nonce).status_code == 200


def test_a_request_that_met_a_fault_has_spent_its_nonce(ca: ScriptedCA, client: RawClient) -> None:
    ca.script("account", problem("badNonce"))
    spent = {"nonce": client.nonce()}
    assert kind_of(client.post(client.account_url, protected=spent)) == (400, "badNonce")
    assert kind_of(client.post(client.account_url, protected=spent)) == (400, "badNonce")


def test_nonces_can_be_forgotten(ca: ScriptedCA, client: RawClient) -> None:
    nonce = client.nonce()
    ca.forget_nonces()
    answer = client.post(client.account_url, protected={"nonce": nonce})
    assert kind_of(answer) == (400, "badNonce")


@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_is_sent(ca: ScriptedCA, client: RawClient, status: int) -> None:
    ca.script("new-order", redirect(status, ca.directory_url))
    answer = client.order("a.example")
    assert (answer.status_code, answer.headers["Location"]) == (status, ca.directory_url)


def test_a_huge_body_is_streamed_whether_announced_or_not(ca: ScriptedCA) -> None:
    ca.script("directory", huge(3_000_001))
    ca.script("directory", huge(3_000_001, announced=False))
    for announced in ("3000001", None):
        with requests.get(
            ca.directory_url, verify=str(ca.ca_bundle), timeout=20, stream=True
        ) as answer:
            assert answer.headers.get("Content-Length") == announced
            assert sum(len(piece) for piece in answer.iter_content(65536)) == 3_000_001


def test_a_client_may_hang_up_on_a_huge_body(ca: ScriptedCA, client: RawClient) -> None:
    ca.script("directory", huge())
    with requests.get(
        ca.directory_url, verify=str(ca.ca_bundle), timeout=20, stream=True
    ) as answer:
        assert answer.raw.read(1000) == b" " * 1000
    assert client.get(ca.directory_url).status_code == 200


def test_bytes_that_are_no_http_are_sent(ca: ScriptedCA, client: RawClient) -> None:
    ca.script("directory", raw(b"220 mail.example ESMTP\r\n"))
    with pytest.raises(requests.ConnectionError, match="220 mail"):
        client.get(ca.directory_url)


# -- faults: around the work


def test_a_connection_dropped_before_the_work_leaves_nothing_done(
    ca: ScriptedCA, client: RawClient
) -> None:
    ca.authorizations_start = "valid"
    order = client.order("a.example")
    ca.script("finalize", drop_connection())
    with pytest.raises(requests.ConnectionError):
        client.finalize(order.json(), "a.example")
    assert client.post(order.headers["Location"]).json()["status"] == "ready"


def test_a_reply_lost_after_the_work_leaves_it_done(ca: ScriptedCA, client: RawClient) -> None:
    ca.authorizations_start = "valid"
    order = client.order("a.example")
    ca.script("finalize", drop_connection(after_processing=True))
    with pytest.raises(requests.ConnectionError):
        client.finalize(order.json(), "a.example")
    assert client.post(order.headers["Location"]).json()["status"] == "valid"


def test_a_connection_is_reset() -> None:
    # without TLS: Python's own makes of a reset nothing but an end
    with ScriptedCA(https=False) as ca:
        ca.script("directory", drop_connection(reset=True))
        with pytest.raises(requests.ConnectionError, match="reset by peer"):
            requests.get(ca.directory_url, timeout=20)


def test_an_answer_comes_late(ca: ScriptedCA, client: RawClient) -> None:
    ca.script("directory", delay(3600))
    with pytest.raises(requests.ReadTimeout):
        client.get(ca.directory_url, timeout=0.1)


def test_work_done_but_answered_late_is_done(ca: ScriptedCA, client: RawClient) -> None:
    ca.script("new-order", delay(3600, after_processing=True))
    payload = {"identifiers": [{"type": "dns", "value": "a.example"}]}
    with pytest.raises(requests.ReadTimeout):
        client.post(client.directory["newOrder"], payload, timeout=1)
    orders = client.post(client.post(client.account_url).json()["orders"]).json()
    assert len(orders["orders"]) == 1


def test_a_function_of_the_test_runs_between_the_work_and_its_answer(
    ca: ScriptedCA, client: RawClient
) -> None:
    seen: list[str] = []
    ca.script("key-change", calls(lambda: seen.append(b64(ca.accounts[0].key.thumbprint()))))
    new = new_key()
    client.change_key(new)
    assert seen == [b64(new.thumbprint())]


# -- faults: the honest answer, spoiled


def test_a_body_is_cut_short(ca: ScriptedCA, client: RawClient) -> None:
    ca.script("directory", truncated(keep=10))
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match=r"IncompleteRead\(10 bytes"):
        client.get(ca.directory_url)


def test_a_body_drips_past_any_time_limit_of_a_single_read(
    ca: ScriptedCA, client: RawClient
) -> None:
    length = len(client.get(ca.directory_url).content)
    ca.script("directory", drip(size=length // 4, seconds=0.1))
    begin = time.monotonic()
    answer = client.get(ca.directory_url)
    assert time.monotonic() - begin >= 0.4
    assert answer.json() == client.directory


def test_status_and_headers_are_altered(ca: ScriptedCA, client: RawClient) -> None:
    ca.script("account", without_header("Replay-Nonce"))
    ca.script("account", with_header("Replay-Nonce", "in valid!"))
    ca.script("account", with_status(204))
    answers = [client.post(client.account_url) for _ in range(4)]
    assert [one.status_code for one in answers] == [200, 200, 204, 200]
    nonces = [one.headers.get("Replay-Nonce") for one in answers]
    assert nonces[:2] == [None, "in valid!"]
    assert all(nonces[2:])


def test_objects_are_changed_on_their_way_out(ca: ScriptedCA, client: RawClient) -> None:
    ca.on("order", removing("finalize"))
    ca.on("order", setting(status="quantum"), when=lambda seen: seen.url.endswith("/2"))
    ca.script("order", response(503))
    first, second = client.order("a.example"), client.order("b.example")
    polls = [client.post(one.headers["Location"]) for one in (first, first, second)]
    assert "finalize" in first.json()
    assert [one.status_code for one in polls] == [503, 200, 200]
    assert ["finalize" in one.json() for one in polls[1:]] == [False, False]
    assert [one.json()["status"] for one in polls[1:]] == ["pending", "quantum"]


def test_faults_go_together(ca: ScriptedCA, client: RawClient) -> None:
    both: Fault = together(with_header("Date", "never"), problem("serverInternal", 500))
    ca.script("new-order", both)
    answer = client.order("a.example")
    assert kind_of(answer) == (500, "serverInternal")
    assert answer.headers["Date"] == "never"


# -- scripting and recording


def test_scripts_of_one_resource_follow_each_other(ca: ScriptedCA, client: RawClient) -> None:
    ca.script("account", response(500), times=2, after=1)
    ca.script("account", response(502))
    ca.script("account", response(503), times=ALWAYS)
    statuses = [client.post(client.account_url).status_code for _ in range(6)]
    assert statuses == [502, 500, 500, 503, 503, 503]


def test_requests_are_recorded_as_they_came(ca: ScriptedCA, client: RawClient) -> None:
    client.order("a.example")
    client.post(client.account_url)
    order, _, account = ca.requests[-3:]
    assert ca.sequence()[:3] == ["directory", "new-nonce", "new-account"]
    assert ca.count("new-order") == 1
    assert ca.count("new-order", "account") == 2
    assert ca.payloads("new-order") == [{"identifiers": [{"type": "dns", "value": "a.example"}]}]
    assert (order.method, order.url) == ("POST", client.directory["newOrder"])
    assert order.headers["content-type"] == "application/jose+json"
    assert order.protected["kid"] == client.account_url
    assert account.payload is None


def test_a_test_can_wait_for_a_request(ca: ScriptedCA, client: RawClient) -> None:
    later = threading.Timer(0.05, client.get, [ca.directory_url])
    later.start()
    ca.wait_for("directory", 2)
    later.join()
    assert ca.count("directory") == 2
    with pytest.raises(AssertionError, match="2 requests for directory"):
        ca.wait_for("directory", 3, timeout=0.01)


def test_many_clients_are_served_at_once(ca: ScriptedCA) -> None:
    def issue(number: int) -> str:
        with RawClient(ca) as client:
            client.register()
            status: str = client.issue(f"{number}.example")["status"]
            return status

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(issue, range(8))) == ["valid"] * 8
    assert len({one.serial for one in ca.issued}) == 8


def test_leaving_ends_every_connection_under_way() -> None:
    with ScriptedCA() as ca:
        port = int(ca.directory_url.split(":")[2].split("/")[0])
        stalled = socket.create_connection(("127.0.0.1", port))
        while ca.connections == 0:
            time.sleep(0.01)
    with stalled:
        assert stalled.recv(1) == b""


def test_a_fault_that_no_request_met_fails_the_test() -> None:
    ca = ScriptedCA().__enter__()
    ca.script("finalize", response(500))
    ca.on("order", setting(status="invalid"))
    with pytest.raises(AssertionError, match=r"that no request triggered: \['finalize', 'order'\]"):
        ca.__exit__(None, None, None)


def test_a_function_that_raised_fails_the_test() -> None:
    ca = ScriptedCA().__enter__()
    ca.on("directory", lambda _: 1 // 0)
    answer = requests.get(ca.directory_url, verify=str(ca.ca_bundle), timeout=20)
    assert answer.status_code == 500
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        ca.__exit__(None, None, None)


def test_an_unknown_resource_in_a_script_is_an_error(ca: ScriptedCA) -> None:
    with pytest.raises(ValueError, match="'newOrder' is not one of"):
        ca.script("newOrder", response(500))
    with pytest.raises(AttributeError):
        setattr(ca, "finalise_polls", 3)  # noqa: B010 - mypy would find it written plainly


def test_it_shares_no_code_with_certctl() -> None:
    root = Path(__file__).parents[2]
    listing = "import sys, tests.lab.scripted_ca.server; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", listing], cwd=root, capture_output=True, text=True, check=True
    )
    assert [name for name in ran.stdout.split() if name.partition(".")[0] == "certctl"] == []
