"""Signed requests: those of an account are written by certctl, and acme reads them."""

import json

import josepy
import pytest
from acme import jws

from certctl.ca.signing import Signer
from certctl.model.ca import AccountKeyType
from certctl.rules.keys import generate_account_key

ACCOUNT = "https://ca.example/acct/1"
URL = "https://ca.example/order/ä?x=%C3%A4"


@pytest.mark.parametrize("kind", AccountKeyType)
@pytest.mark.parametrize("payload", [b"", b"{}", '{"name": "ä"}'.encode()])
def test_acme_verifies_what_an_account_signs(kind: AccountKeyType, payload: bytes) -> None:
    signer = Signer.load(generate_account_key(kind), ACCOUNT)

    text = signer.sign(payload, url=URL, nonce=b"\x00nonce\xff")

    signed = jws.JWS.json_loads(text)
    assert signed.verify(signer.key.public_key())
    assert signed.payload == payload
    assert header(json.loads(text)) == {
        "alg": kind.upper(),
        "nonce": josepy.encode_b64jose(b"\x00nonce\xff"),
        "url": URL,
        "kid": ACCOUNT,
    }


@pytest.mark.parametrize("kind", AccountKeyType)
def test_a_request_of_an_account_has_what_acme_would_write(kind: AccountKeyType) -> None:
    signer = Signer.load(generate_account_key(kind), ACCOUNT)
    signed = jws.JWS.sign(
        b"{}", key=signer.key, alg=signer.algorithm, nonce=b"n", url=URL, kid=ACCOUNT
    )

    ours = json.loads(signer.sign(b"{}", url=URL, nonce=b"n"))

    theirs = signed.to_json()
    assert set(ours) == set(theirs)
    assert (header(ours), ours["payload"]) == (header(theirs), theirs["payload"])


def header(signed: dict[str, str]) -> object:
    return json.loads(josepy.decode_b64jose(signed["protected"]))
