"""Malformed requests never break the development CA: no 500, and the next request is answered.

CERTCTL_FUZZ_EXAMPLES sets how many; some hundreds without it.
"""

import http.client
import json
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import josepy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certctl.devca.server import DevCa
from tests.integration.devca_client import JOSE, RawClient, csr

# read before the fixture that clears the environment of what begins with CERTCTL_
EXAMPLES = int(os.environ.get("CERTCTL_FUZZ_EXAMPLES", "250"))

few = settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

RESOURCES = (
    *("new-account", "account", "orders", "key-change", "new-order", "order", "finalize"),
    *("authorization", "challenge", "certificate", "revoke-certificate", "renewal-info"),
    *("directory", "new-nonce", "crl", "issuer", "manage/faults", "manage/dns", "root", "terms"),
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
jsons = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
FIELDS = (
    *("identifiers", "profile", "replaces", "notAfter", "csr", "status", "contact", "type"),
    *("termsOfServiceAgreed", "externalAccountBinding", "onlyReturnExisting", "certificate"),
    *("reason", "protected", "payload", "signature", "account", "oldKey", "name", "value"),
)
payloads = st.dictionaries(st.sampled_from(FIELDS), jsons, max_size=5) | jsons
identifiers = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["dns", "ip", "email"]), "value": st.text(max_size=60)}
    ),
    max_size=4,
)


@pytest.fixture(scope="module")
def client() -> Iterator[RawClient]:
    with DevCa(None) as ca:
        client = RawClient(ca)
        client.register()
        yield client
        assert client.order("still.alive.example").status == 201
    assert ca.internal_errors == []


@pytest.fixture(scope="module")
def context(client: RawClient) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=client.ca.tls_ca_bundle)


@pytest.fixture(scope="module")
def connection(client: RawClient, context: ssl.SSLContext) -> Iterator[http.client.HTTPSConnection]:
    connection = http.client.HTTPSConnection("127.0.0.1", client.ca.port, context=context)
    yield connection
    connection.close()


def post(connection: http.client.HTTPSConnection, path: str, body: bytes) -> tuple[int, Any]:
    connection.request("POST", path, body, {"Content-Type": JOSE})
    response = connection.getresponse()
    content = response.read()
    assert response.status < 500, content
    return response.status, content


@few
@given(resource=st.sampled_from(RESOURCES), body=st.binary(max_size=200))
def test_any_bytes_are_answered(
    connection: http.client.HTTPSConnection, resource: str, body: bytes
) -> None:
    status, _ = post(connection, f"/{resource}", body)

    assert status >= 400


@few
@given(
    resource=st.sampled_from(RESOURCES),
    protected=st.dictionaries(
        st.sampled_from(["alg", "nonce", "url", "jwk", "kid", "crit"]), jsons
    ),
    payload=jsons,
    signature=st.binary(max_size=80),
)
def test_any_jws_is_answered(
    client: RawClient,
    connection: http.client.HTTPSConnection,
    resource: str,
    protected: dict[str, Any],
    payload: Any,
    signature: bytes,
) -> None:
    url = {"url": client.url(resource)}
    whole = {
        "protected": josepy.encode_b64jose(json.dumps({**protected, **url}).encode()),
        "payload": josepy.encode_b64jose(json.dumps(payload).encode()),
        "signature": josepy.encode_b64jose(signature),
    }

    status, _ = post(connection, f"/{resource}", json.dumps(whole).encode())

    assert status >= 400


@few
@given(
    jwk=st.dictionaries(
        st.sampled_from(["kty", "crv", "x", "y", "n", "e", "d", "k", "alg"]),
        st.sampled_from(["EC", "RSA", "oct", "OKP", "P-256", "P-384", "AQAB", "AA", "", "Ed25519"])
        | jsons,
    )
)
def test_any_key_is_answered(
    client: RawClient, connection: http.client.HTTPSConnection, jwk: dict[str, Any]
) -> None:
    header = {"alg": "ES256", "nonce": "x", "url": client.url("new-account"), "jwk": jwk}
    whole = {
        "protected": josepy.encode_b64jose(json.dumps(header).encode()),
        "payload": "e30",
        "signature": "AAAA",
    }

    status, _ = post(connection, "/new-account", json.dumps(whole).encode())

    assert status == 400


@few
@given(
    resource=st.sampled_from(RESOURCES[:11]),
    tail=st.sampled_from(["", "/x", "/1/2", "/%00", "/../x"]),
    payload=payloads,
)
def test_any_signed_payload_is_answered(
    client: RawClient,
    connection: http.client.HTTPSConnection,
    resource: str,
    tail: str,
    payload: Any,
) -> None:
    if isinstance(payload, dict):
        # what would end the account for all that follow
        payload = {k: v for k, v in payload.items() if (k, v) != ("status", "deactivated")}
    by_key = resource == "new-account"
    body = client.signed(client.url(resource) + tail, payload, by_key=by_key)

    post(connection, f"/{resource}{tail}", body)


@few
@given(wanted=identifiers, profile=st.none() | st.text(max_size=10))
def test_any_identifiers_are_answered(
    client: RawClient,
    connection: http.client.HTTPSConnection,
    wanted: list[dict[str, str]],
    profile: str | None,
) -> None:
    payload = {"identifiers": wanted, "profile": profile}
    body = client.signed(client.url("new-order"), payload)

    post(connection, "/new-order", body)


@pytest.fixture(scope="module")
def ready(client: RawClient) -> str:
    """Where an order is finalized that is ready."""
    order = client.order("a.example")
    client.prove(order)
    return str(order.json["finalize"])


@few
@given(position=st.integers(0, 200), byte=st.integers(0, 255), cut=st.integers(0, 200))
def test_any_damage_to_a_signing_request_is_answered(
    client: RawClient,
    connection: http.client.HTTPSConnection,
    ready: str,
    position: int,
    byte: int,
    cut: int,
) -> None:
    der = bytearray(csr(["b.example"]))
    der[position % len(der)] = byte
    request = josepy.encode_b64jose(bytes(der[: len(der) - cut]))
    body = client.signed(ready, {"csr": request})

    status, _ = post(connection, ready.removeprefix(client.ca.base_url), body)

    assert status == 400


@few
@given(data=st.binary(min_size=1, max_size=300))
def test_any_bytes_on_the_wire_end_nothing(
    client: RawClient, context: ssl.SSLContext, data: bytes
) -> None:
    with (
        socket.create_connection(("127.0.0.1", client.ca.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        secured.sendall(data + b"\r\n\r\n")
        answer = secured.recv(12)

    assert not answer.startswith(b"HTTP/1.1 5")
