"""Parses and verifies JSON Web Signatures (RFC 8555 §6.2), using only josepy and `hmac`.

Parsing and verifying are separate steps, since a request is recorded even if its signature is
invalid.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any

import josepy

from tests.lab.scripted_ca.problems import Problem

MAC_HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def b64(data: bytes) -> str:
    """base64url without padding (RFC 4648 §5)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: object) -> bytes:
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise Problem("malformed", detail="base64url without padding expected")
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise Problem("malformed", detail=f"not base64url: {error}") from None


@dataclass(frozen=True)
class Message:
    """A flattened JWS, parsed but not verified."""

    protected: dict[str, Any]
    payload: bytes
    signature: bytes
    signing_input: bytes

    @property
    def content(self) -> Any:
        """The payload's JSON; None for a POST-as-GET's empty payload (RFC 8555 §6.3)."""
        return _json(self.payload, "payload") if self.payload else None


def read(raw: object) -> Message:
    """Parses a JWS: a request's body, or the object of an inner JWS."""
    whole = _json(raw, "body") if isinstance(raw, bytes) else raw
    if not isinstance(whole, dict) or set(whole) != {"protected", "payload", "signature"}:
        raise Problem(
            "malformed", detail="a flattened JWS with a protected header only is expected"
        )
    protected = _json(unb64(whole["protected"]), "protected header")
    if not isinstance(protected, dict):
        raise Problem("malformed", detail="the protected header is not an object")
    return Message(
        protected=protected,
        payload=unb64(whole["payload"]),
        signature=unb64(whole["signature"]),
        signing_input=f"{whole['protected']}.{whole['payload']}".encode(),
    )


def _json(raw: bytes, where: str) -> Any:
    try:
        return json.loads(raw)
    except ValueError as error:
        raise Problem("malformed", detail=f"the {where} is not JSON: {error}") from None


def key_from(jwk: object) -> josepy.JWK:
    """A public key; raises badPublicKey if a CA would refuse it."""
    if not isinstance(jwk, dict) or "d" in jwk:
        raise Problem("badPublicKey", detail="jwk is not a public key")
    try:
        key: Any = josepy.JWK.from_json(jwk)
    except (josepy.errors.Error, ValueError, KeyError) as error:
        raise Problem("badPublicKey", detail=f"jwk: {error}") from None
    if isinstance(key, josepy.JWKRSA) and key.key.key_size < 2048:
        raise Problem("badPublicKey", detail=f"RSA of {key.key.key_size} bits is too short")
    assert isinstance(key, josepy.JWK)
    return key


def verify(message: Message, key: josepy.JWK, algorithms: tuple[str, ...]) -> None:
    """Checks algorithm and signature (RFC 8555 §6.2)."""
    name = message.protected.get("alg")
    if name not in algorithms:
        raise Problem(
            "badSignatureAlgorithm", detail=f"{name} is not accepted", algorithms=list(algorithms)
        )
    algorithm = josepy.JWASignature.from_json(name)
    if algorithm.kty is not type(key):
        raise Problem("malformed", detail=f"{name} does not match that key")
    if not algorithm.verify(key.key, message.signing_input, message.signature):
        raise Problem("malformed", detail="the signature is invalid")


def verify_binding(binding: object, eab_keys: dict[str, bytes], url: str, jwk: object) -> None:
    """Checks an external account binding (RFC 8555 §7.3.4): a MAC over the account's key."""
    message = read(binding)
    protected = message.protected
    if protected.get("alg") not in MAC_HASHES or protected.get("url") != url:
        raise Problem("malformed", detail="the binding must have a MAC algorithm and this URL")
    if "nonce" in protected:
        raise Problem("malformed", detail="the binding must have no nonce")
    mac_key = eab_keys.get(str(protected.get("kid")))
    if mac_key is None:
        raise Problem("unauthorized", 403, f"the key identifier {protected.get('kid')} is unknown")
    mac = hmac.digest(mac_key, message.signing_input, MAC_HASHES[protected["alg"]])
    if not hmac.compare_digest(mac, message.signature):
        raise Problem("unauthorized", 403, "the binding's MAC is wrong")
    if message.content != jwk:
        raise Problem("malformed", detail="the binding is for another account key")
