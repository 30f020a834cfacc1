"""Parses and verifies JSON Web Signatures according to RFC 8555 §6.2.

josepy verifies signatures. Thumbprints and key authorizations are computed here independently, from
the numbers of the key, so that the server does not repeat a bug of the client's library.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from types import MappingProxyType
from typing import Any

import josepy
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certctl.devca.problems import Problem
from certctl.model.lazy_dataclass import dataclass

ALGORITHMS = ("ES256", "ES384", "ES512", "RS256")

_CURVES = MappingProxyType({"ES256": ("P-256", 32), "ES384": ("P-384", 48), "ES512": ("P-521", 66)})
_MACS = MappingProxyType({"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"})
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*\Z")


def encode(data: bytes) -> str:
    """Return base64url without padding (RFC 4648 §5)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: object, what: str) -> bytes:
    """Return the bytes of base64url without padding; raises `Problem` naming `what`."""
    if not isinstance(text, str) or _BASE64URL.match(text) is None or len(text) % 4 == 1:
        raise Problem("malformed", f"{what} is not base64url without padding")
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def parse_json(data: bytes, what: str) -> Any:
    """Return the JSON value in `data`; raises `Problem` naming `what`."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Problem("malformed", f"{what} is not valid JSON") from None


@dataclass(frozen=True)
class Message:
    """A flattened JWS, parsed but not verified."""

    protected: dict[str, Any]
    payload: bytes
    signature: bytes
    signing_input: bytes

    def content(self) -> dict[str, Any] | None:
        """Return the payload's object, None for an empty payload (POST-as-GET, RFC 8555 §6.3)."""
        if not self.payload:
            return None
        found = parse_json(self.payload, "the payload")
        if not isinstance(found, dict):
            raise Problem("malformed", "the payload is not an object")
        return found


def read(whole: object) -> Message:
    """Parse a JWS; raises `Problem` unless it is in flattened form without `header`."""
    if not isinstance(whole, dict) or set(whole) != {"protected", "payload", "signature"}:
        raise Problem("malformed", "a JWS must have exactly protected, payload and signature")
    protected = parse_json(decode(whole["protected"], "the protected header"), "the header")
    if not isinstance(protected, dict):
        raise Problem("malformed", "the protected header is not an object")
    if "crit" in protected or "b64" in protected:
        raise Problem("malformed", "header extensions are not supported")
    return Message(
        protected=protected,
        payload=decode(whole["payload"], "the payload"),
        signature=decode(whole["signature"], "the signature"),
        signing_input=f"{whole['protected']}.{whole['payload']}".encode(),
    )


@dataclass(frozen=True)
class PublicKey:
    """A public key that requests are verified with; `jwk` is its canonical form, `thumbprint` as in
    RFC 7638.
    """

    jwk: dict[str, str]
    thumbprint: str
    key: Any
    numbers: tuple[int, ...]


def public_key(jwk: object) -> PublicKey:
    """Return the key of a JWK (RFC 7517); raises `Problem` badPublicKey if it is not acceptable."""
    if not isinstance(jwk, dict) or {"d", "p", "q", "k"} & set(jwk):
        raise Problem("badPublicKey", "jwk is not a public key")
    try:
        key: Any = josepy.JWK.from_json(jwk)
        numbers = key.key.public_numbers()
    except Exception as error:  # noqa: BLE001 - josepy raises any exception for a malicious key
        raise Problem("badPublicKey", f"jwk: {type(error).__name__}") from None
    canonical = _canonical(numbers)
    return PublicKey(canonical, _thumbprint(canonical), key, numbers_of(numbers))


def numbers_of(numbers: Any) -> tuple[int, ...]:
    """Return the numbers that identify a public key, regardless of its representation."""
    if isinstance(numbers, rsa.RSAPublicNumbers):
        return (numbers.n, numbers.e)
    if isinstance(numbers, ec.EllipticCurvePublicNumbers):
        return (numbers.x, numbers.y)
    return ()


def _canonical(numbers: Any) -> dict[str, str]:
    """Return the required members of a JWK, in the order of their names (RFC 7638 §3.2)."""
    if isinstance(numbers, rsa.RSAPublicNumbers):
        if not 2048 <= numbers.n.bit_length() <= 8192 or not 3 <= numbers.e < 2**32:
            raise Problem(
                "badPublicKey", f"RSA keys of {numbers.n.bit_length()} bits are not accepted"
            )
        return {"e": _unsigned(numbers.e), "kty": "RSA", "n": _unsigned(numbers.n)}
    if isinstance(numbers, ec.EllipticCurvePublicNumbers):
        for name, size in _CURVES.values():
            if f"secp{name[2:]}r1" == numbers.curve.name:
                return {
                    "crv": name,
                    "kty": "EC",
                    "x": encode(numbers.x.to_bytes(size, "big")),
                    "y": encode(numbers.y.to_bytes(size, "big")),
                }
    raise Problem("badPublicKey", "only RSA, P-256, P-384 and P-521 keys are accepted")


def _unsigned(number: int) -> str:
    return encode(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _thumbprint(canonical: dict[str, str]) -> str:
    text = json.dumps(canonical, separators=(",", ":"), sort_keys=True)
    return encode(hashlib.sha256(text.encode()).digest())


def key_authorization(token: str, thumbprint: str) -> str:
    """Return the key authorization for a token (RFC 8555 §8.1)."""
    return f"{token}.{thumbprint}"


def verify(message: Message, key: PublicKey) -> None:
    """Check algorithm and signature (RFC 8555 §6.2); raises `Problem`."""
    name = message.protected.get("alg")
    if not isinstance(name, str) or name not in ALGORITHMS:
        raise Problem(
            "badSignatureAlgorithm", f"{name!r:.40} is not accepted", algorithms=list(ALGORITHMS)
        )
    expected = _CURVES[name][0] if name in _CURVES else "RSA"
    if expected != key.jwk.get("crv", key.jwk["kty"]):
        raise Problem("badSignatureAlgorithm", f"{name} does not match this key")
    algorithm = josepy.JWASignature.from_json(name)
    try:
        good = algorithm.verify(key.key.key, message.signing_input, message.signature)
    except Exception:  # noqa: BLE001 - an unreadable signature is an invalid one
        good = False
    if not good:
        raise Problem("malformed", "the signature is invalid")


def verify_binding(binding: object, keys: dict[str, bytes], url: str, key: PublicKey) -> str:
    """Verify an external account binding (RFC 8555 §7.3.4), a MAC over the account's key; return
    its key identifier. Raises `Problem`.
    """
    message = read(binding)
    protected = message.protected
    algorithm = protected.get("alg")
    if not isinstance(algorithm, str) or algorithm not in _MACS:
        raise Problem(
            "badSignatureAlgorithm", "a binding requires a MAC algorithm", algorithms=list(_MACS)
        )
    if protected.get("url") != url or "nonce" in protected or "jwk" in protected:
        raise Problem("malformed", "a binding must have this URL, a kid, and no nonce")
    kid = protected.get("kid")
    secret = keys.get(kid) if isinstance(kid, str) else None
    if not isinstance(kid, str) or secret is None:
        raise Problem("unauthorized", f"the key identifier {kid!r:.80} is unknown")
    mac = hmac.digest(secret, message.signing_input, _MACS[algorithm])
    if not hmac.compare_digest(mac, message.signature):
        raise Problem("unauthorized", "the binding's MAC is invalid")
    if public_key(message.content()).thumbprint != key.thumbprint:
        raise Problem("malformed", "the binding is for another account key")
    return kid
