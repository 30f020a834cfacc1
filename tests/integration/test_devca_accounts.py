"""The development CA: directory, nonces, signatures, accounts (RFC 8555 §6, §7.1 to §7.3)."""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator

import josepy
import pytest
from acme import jws as acme_jws
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certctl.devca.server import DevCa
from tests.integration.devca_client import RawClient, request


@pytest.fixture
def ca() -> Iterator[DevCa]:
    with DevCa(None) as ca:
        yield ca
    assert ca.internal_errors == []


@pytest.fixture
def client(ca: DevCa) -> RawClient:
    client = RawClient(ca)
    assert client.register().status == 201
    return client


def ec_key(curve: ec.EllipticCurve | None = None) -> josepy.JWKEC:
    key = ec.generate_private_key(curve or ec.SECP256R1())
    return josepy.JWKEC(key=josepy.ComparableECKey(key))


def rsa_key(bits: int) -> josepy.JWKRSA:
    return josepy.JWKRSA(key=josepy.ComparableRSAKey(rsa.generate_private_key(65537, bits)))


def test_the_directory_names_every_resource_and_says_what_the_ca_is(ca: DevCa) -> None:
    directory = RawClient(ca).directory
    meta = directory.pop("meta")

    assert set(directory) == {
        *("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange", "renewalInfo"),
    }
    assert all(url.startswith(ca.base_url) for url in directory.values())
    assert set(meta["profiles"]) == {"classic", "tlsserver", "shortlived"}
    assert meta["termsOfService"] == f"{ca.base_url}/terms"
    assert meta["externalAccountRequired"] is False
    assert meta["caaIdentities"]
    assert b"for development" in RawClient(ca).get("terms").body


def test_a_host_name_that_the_client_uses_comes_back_in_every_url(ca: DevCa) -> None:
    client = RawClient(ca)
    url = f"https://localhost:{ca.port}"

    assert client.get("directory").json["newNonce"].startswith(ca.base_url)
    # the certificate names localhost as well, and the URLs follow
    found = request(f"{url}/directory", ca.tls_ca_bundle).json
    assert found["newNonce"] == f"{url}/new-nonce"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204)])
def test_a_nonce_is_fresh_each_time_and_not_to_be_cached(
    ca: DevCa, method: str, status: int
) -> None:
    one, other = (RawClient(ca).get("new-nonce", method=method) for _ in range(2))

    assert (one.status, one.headers["Cache-Control"]) == (status, "no-store")
    assert one.headers["Replay-Nonce"] != other.headers["Replay-Nonce"]
    assert one.links("index") == [ca.directory_url]


# Signatures.


def test_a_nonce_is_good_once(client: RawClient) -> None:
    body = client.signed(str(client.kid))

    first, second = (client.send(str(client.kid), body) for _ in range(2))

    assert (first.status, second.status) == (200, 400)
    assert second.problem == "badNonce"
    again = josepy.decode_b64jose(second.headers["Replay-Nonce"])
    assert client.post(str(client.kid), nonce=again).status == 200


def test_a_request_for_another_url_is_refused(client: RawClient) -> None:
    answer = client.post(str(client.kid), header_url=client.url("new-order"))

    assert (answer.status, answer.problem) == (403, "unauthorized")


def test_a_signature_by_another_key_is_refused(client: RawClient) -> None:
    stranger = RawClient(client.ca, kid=client.kid)

    assert stranger.post(str(client.kid)).problem == "malformed"


def test_a_request_is_signed_for_an_account_by_kid_or_by_a_new_key(client: RawClient) -> None:
    assert client.post("new-order", {}, by_key=True).problem == "malformed"
    assert client.post("new-account", {}).problem == "malformed"


def test_an_unknown_account_gets_account_does_not_exist(client: RawClient) -> None:
    answer = client.post("new-order", {}, kid=client.url("account", "nosuch"))

    assert (answer.status, answer.problem) == (400, "accountDoesNotExist")


def test_the_host_in_a_kid_does_not_matter_since_ports_change_over_restarts(
    client: RawClient,
) -> None:
    elsewhere = str(client.kid).replace(f":{client.ca.port}/", ":1/")

    assert client.post(str(client.kid), kid=elsewhere).status == 200


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (lambda: ec_key(ec.SECP384R1()), josepy.ES384),
        (lambda: ec_key(ec.SECP521R1()), josepy.ES512),
        (lambda: rsa_key(2048), josepy.RS256),
    ],
    ids=["ES384", "ES512", "RS256"],
)
def test_keys_of_every_usual_kind_have_accounts(
    ca: DevCa, key: Callable[[], josepy.JWK], algorithm: object
) -> None:
    assert RawClient(ca, key(), algorithm).register().status == 201


@pytest.mark.parametrize(
    ("key", "algorithm", "problem"),
    [
        (lambda: rsa_key(1024), josepy.RS256, "badPublicKey"),
        (lambda: rsa_key(2048), josepy.PS256, "badSignatureAlgorithm"),
        (lambda: rsa_key(2048), josepy.RS512, "badSignatureAlgorithm"),
    ],
    ids=["short", "PS256", "RS512"],
)
def test_keys_and_algorithms_that_no_ca_takes_are_refused(
    ca: DevCa, key: Callable[[], josepy.JWK], algorithm: object, problem: str
) -> None:
    answer = RawClient(ca, key(), algorithm).register()

    assert answer.problem == problem
    if problem == "badSignatureAlgorithm":
        assert answer.json["algorithms"] == ["ES256", "ES384", "ES512", "RS256"]


def test_only_flattened_jws_of_the_right_media_type_and_size_are_read(client: RawClient) -> None:
    url = str(client.kid)
    body = client.signed(url)
    document = json.loads(body)

    assert client.send(url, body, media="application/json").status == 415
    assert client.send(url, json.dumps({**document, "header": {}}).encode()).problem == "malformed"
    assert client.send(url, b"{").problem == "malformed"
    assert client.send(url, b"[" * 100_000).problem == "malformed"
    assert client.send(url, b"x" * 300_000).status == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "new-account", 405),
        ("POST", "directory", 405),
        ("PUT", "directory", 405),
        ("GET", "nosuch", 404),
        ("GET", "", 404),
    ],
)
def test_unknown_urls_and_methods_are_refused(
    ca: DevCa, method: str, path: str, status: int
) -> None:
    answer = RawClient(ca).get(path, method=method)

    assert (answer.status, answer.problem) == (status, "malformed")
    assert (answer.headers["Allow"] is not None) == (status == 405)


# Accounts.


def test_an_account_is_found_again_by_its_key(ca: DevCa) -> None:
    client = RawClient(ca)
    absent = client.post("new-account", {"onlyReturnExisting": True}, by_key=True)
    made = client.register(contact=["mailto:a@example.com"])
    found = client.post("new-account", {"onlyReturnExisting": True}, by_key=True)

    assert absent.problem == "accountDoesNotExist"
    assert (made.status, found.status) == (201, 200)
    assert made.headers["Location"] == found.headers["Location"]
    assert found.json == made.json
    assert made.json["contact"] == ["mailto:a@example.com"]


def test_the_terms_have_to_be_agreed_to_and_again_once_they_change(client: RawClient) -> None:
    refused = RawClient(client.ca).register(termsOfServiceAgreed=False)
    client.ca.settings.terms_of_service = "https://ca.example/terms/2"
    stale = client.order("a.example")
    client.post(str(client.kid), {"termsOfServiceAgreed": True})

    assert (refused.status, refused.problem) == (403, "userActionRequired")
    assert (stale.status, stale.problem) == (403, "userActionRequired")
    assert stale.links("terms-of-service") == ["https://ca.example/terms/2"]
    assert client.order("a.example").status == 201


@pytest.mark.parametrize(
    ("contact", "problem"),
    [
        (["tel:+12345"], "unsupportedContact"),
        (["mailto:a"], "invalidContact"),
        (["mailto:a@b.example,c@d.example"], "invalidContact"),
        (["mailto:a@b.example?subject=x"], "invalidContact"),
        ("mailto:a@b.example", "malformed"),
        ([1], "malformed"),
    ],
)
def test_a_contact_is_one_address(ca: DevCa, contact: object, problem: str) -> None:
    assert RawClient(ca).register(contact=contact).problem == problem


def test_contacts_can_be_changed_and_removed(client: RawClient) -> None:
    changed = client.post(str(client.kid), {"contact": ["mailto:b@example.com"]})
    removed = client.post(str(client.kid), {"contact": []})

    assert changed.json["contact"] == ["mailto:b@example.com"]
    assert removed.json["contact"] == []
    assert client.post(str(client.kid)).json == removed.json


def test_an_account_cannot_be_read_by_another_account(client: RawClient) -> None:
    other = RawClient(client.ca)
    other.register()

    assert other.post(str(client.kid)).problem == "unauthorized"


def test_a_deactivated_account_does_nothing_more(client: RawClient) -> None:
    gone = client.post(str(client.kid), {"status": "deactivated"})

    assert (gone.status, gone.json["status"]) == (200, "deactivated")
    assert client.order("a.example").problem == "unauthorized"
    assert client.register().problem == "unauthorized"


def test_the_list_of_orders_comes_in_pages(client: RawClient) -> None:
    made = [client.order(f"n{number}.a.example").headers["Location"] for number in range(103)]
    first = client.post(client.post(str(client.kid)).json["orders"])
    second = client.post(*first.links("next"))

    assert [*first.json["orders"], *second.json["orders"]] == made
    assert second.links("next") == []


def binding(client: RawClient, secret: bytes, **header: str) -> dict[str, str]:
    """An external account binding, by `hmac` alone."""
    protected = {"alg": "HS256", "kid": "kid-1", "url": client.url("new-account"), **header}
    parts = [
        josepy.encode_b64jose(json.dumps(each).encode())
        for each in (protected, client.key.public_key().to_json())
    ]
    mac = hmac.digest(secret, ".".join(parts).encode(), hashlib.sha256)
    return dict(
        zip(
            ("protected", "payload", "signature"), [*parts, josepy.encode_b64jose(mac)], strict=True
        )
    )


def test_an_external_account_is_demanded_and_checked(ca: DevCa) -> None:
    ca.settings.eab_keys = {"kid-1": b"secret"}
    client = RawClient(ca)

    def register(secret: bytes = b"secret", **header: str) -> str:
        answer = client.register(externalAccountBinding=binding(client, secret, **header))
        return answer.problem if answer.status >= 400 else str(answer.status)

    assert client.directory["meta"]["externalAccountRequired"] is True
    assert client.register().problem == "externalAccountRequired"
    assert register(b"guess") == "unauthorized"
    assert register(kid="kid-2") == "unauthorized"
    assert register(url=client.url("new-order")) == "malformed"
    assert register(alg="none") == "badSignatureAlgorithm"
    other = binding(RawClient(ca), b"secret")
    assert client.register(externalAccountBinding=other).problem == "malformed"
    assert register() == "201"


# Key change.


def key_change(client: RawClient, new: RawClient, **changed: object) -> dict[str, object]:
    """The inner JWS (RFC 8555 §7.3.5), with what the test gets wrong."""
    payload = {"account": client.kid, "oldKey": client.key.public_key().to_json(), **changed}
    inner = acme_jws.JWS.sign(
        json.dumps(payload).encode(),
        key=new.key,
        alg=new.algorithm,
        nonce=None,
        url=client.url("key-change"),
        kid=None,
    )
    return dict(json.loads(inner.json_dumps()))


def test_an_account_gets_another_key(client: RawClient) -> None:
    new = RawClient(client.ca, kid=client.kid)

    changed = client.post("key-change", key_change(client, new))

    assert (changed.status, changed.headers["Location"]) == (200, client.kid)
    assert new.post(str(client.kid)).status == 200
    assert client.post(str(client.kid)).problem == "malformed"


def test_a_key_of_another_account_is_refused_as_a_new_key(client: RawClient) -> None:
    other = RawClient(client.ca)
    other.register()

    refused = client.post("key-change", key_change(client, other))

    assert (refused.status, refused.headers["Location"]) == (409, other.kid)


def test_a_key_change_names_the_account_and_its_old_key(client: RawClient) -> None:
    new = RawClient(client.ca)
    wrong = [
        {"account": client.url("account", "x")},
        {"oldKey": new.key.public_key().to_json()},
        {"oldKey": None},
    ]

    problems = [client.post("key-change", key_change(client, new, **each)) for each in wrong]

    assert [each.problem for each in problems] == ["malformed", "malformed", "badPublicKey"]
    assert client.post("key-change", {}).problem == "malformed"
    assert client.post(str(client.kid)).status == 200
