"""Generates and loads private keys, and computes digests of public keys (RFC 7518, RFC 5480).

Keys are passed around as PEM bytes; they are parsed only here and where something is signed. Slow
to import (cryptography).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

from certctl.model.ca import AccountKeyType
from certctl.model.errors import ConfigurationError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import KeyType


@dataclass(frozen=True)
class _Curve:
    """A curve, and its name in a JWK (RFC 7518 §6.2.1.1) and in a key's algorithm (RFC 5480)."""

    kind: type[ec.EllipticCurve]
    jwk: str
    oid: bytes


_CURVES: Mapping[str, _Curve] = {
    "p256": _Curve(ec.SECP256R1, "P-256", bytes.fromhex("2a8648ce3d030107")),
    "p384": _Curve(ec.SECP384R1, "P-384", bytes.fromhex("2b81040022")),
    "p521": _Curve(ec.SECP521R1, "P-521", bytes.fromhex("2b81040023")),
}
"""The curves by the word in a key type: `ecdsa-p256`."""

_ACCOUNT_KEYS: Mapping[AccountKeyType, KeyType] = {
    AccountKeyType.ES256: KeyType.ECDSA_P256,
    AccountKeyType.ES384: KeyType.ECDSA_P384,
    AccountKeyType.RS256: KeyType.RSA_2048,
}
_LONGEST_RSA = 16_384
"""Bits; OpenSSL verifies no signature of a longer key."""

_RSA_PARTS = ("p", "q", "d", "dp", "dq", "qi")

_EC_PEM = re.compile(rb"-----BEGIN ((?:EC )?PRIVATE KEY)-----([A-Za-z0-9+/=\s]+)-----END \1-----")
_EC_PUBLIC_KEY = bytes.fromhex("2a8648ce3d0201")

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class PublicKey(Protocol):
    """The part of a public key's interface in cryptography that is used here."""

    def public_bytes(self, encoding: Encoding, format: PublicFormat) -> bytes:  # noqa: A002 - theirs
        ...


def generate_key(key_type: KeyType) -> bytes:
    """Return a new private key for a certificate, as unencrypted PKCS#8 in PEM.

    The type says what it is: `ecdsa-CURVE` or `rsa-BITS`.
    """
    key: PrivateKey
    family, _, size = key_type.partition("-")
    if family == "ecdsa":
        key = ec.generate_private_key(_CURVES[size].kind())
    else:
        key = rsa.generate_private_key(public_exponent=65537, key_size=int(size))
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def generate_account_key(kind: AccountKeyType) -> bytes:
    """Return a new private key for an account (RFC 8555 §6.2), as unencrypted PKCS#8 in PEM."""
    return generate_key(_ACCOUNT_KEYS[kind])


def account_key_type(privkey: bytes) -> AccountKeyType:
    """Return the type of an account key. Raises `ConfigurationError` for unsupported ones."""
    match read_private_key(privkey):
        case rsa.RSAPrivateKey():
            return AccountKeyType.RS256
        case ec.EllipticCurvePrivateKey(key_size=256):
            return AccountKeyType.ES256
        case ec.EllipticCurvePrivateKey(key_size=384):
            return AccountKeyType.ES384
    raise _key_refused("its curve is not supported for account keys", None)


def key_sha256(privkey: bytes) -> str:
    """Return the digest of the public key (SubjectPublicKeyInfo) that belongs to `privkey`.

    Raises `ConfigurationError` if it is not a supported private key in PEM format.
    """
    return digest_of_key(load_private_key(privkey).public_key())


def fits(privkey: bytes, key_sha256: str) -> bool:
    """Return whether a private key in PEM format belongs to the public key with this digest."""
    try:
        return digest_of_key(read_private_key(privkey).public_key()) == key_sha256
    except ConfigurationError:
        return False


def read_private_key(pem: bytes) -> PrivateKey:
    """Return the key in `pem`, to find out what it is. Raises as `load_private_key` does.

    Quicker than loading the key for use, which takes most of a second for a long RSA key: whether
    its numbers belong together is shown by a signature.
    """
    return _fitting(_loaded(pem, quickly=True))


def _fitting(key: PrivateKey) -> PrivateKey:
    """Return the key. Raises `ConfigurationError` if its numbers do not belong together."""
    if not isinstance(key, rsa.RSAPrivateKey):
        return key
    if key.key_size > _LONGEST_RSA:
        raise _key_refused(f"it has more than {_LONGEST_RSA} bits", None)
    try:
        signed = key.sign(b"certctl", padding.PKCS1v15(), hashes.SHA256())
        key.public_key().verify(signed, b"certctl", padding.PKCS1v15(), hashes.SHA256())
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        raise _key_refused("its numbers do not belong together", None) from None
    return key


def load_private_key(pem: bytes) -> PrivateKey:
    """Return the key in `pem`. Raises `ConfigurationError`, which does not quote the file."""
    return _loaded(pem, quickly=False)


def _loaded(pem: bytes, *, quickly: bool) -> PrivateKey:
    # Errors of cryptography may quote the file, so their text is not passed on.
    key: object
    try:
        key = _ec_key(pem) or load_pem_private_key(
            pem, password=None, unsafe_skip_rsa_key_validation=quickly
        )
    except TypeError:
        raise _key_refused(
            "it is encrypted", "Decrypt it with: openssl pkey -in FILE -out NEW_FILE"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise _key_refused("it is not a private key in PEM format", None) from None
    if not isinstance(key, PrivateKey):
        raise _key_refused("it is neither an RSA nor an ECDSA key", None)
    return key


def standard_pem(pem: bytes) -> bytes:
    """Return a private key in a notation that every library reads. Anything else is returned
    unchanged.
    """
    key = _ec_key(pem)
    return (
        pem if key is None else key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )


def describe_private_key(pem: bytes) -> str:
    """Return the type of a private key, such as `rsa-2048`. Raises as `load_private_key` does."""
    return describe_key(read_private_key(pem).public_key())[0]


def from_jwk(fields: Mapping[str, object]) -> bytes:
    """Return a private key in JWK notation (RFC 7518 §6) as unencrypted PKCS#8 in PEM.

    Raises `ConfigurationError`, which does not quote the key.
    """
    try:
        if fields.get("kty") == "RSA":
            public = rsa.RSAPublicNumbers(_number(fields, "e"), _number(fields, "n"))
            p, q, d, dp, dq, qi = (_number(fields, each) for each in _RSA_PARTS)
            numbers = rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, public)
            key: PrivateKey = _fitting(numbers.private_key(unsafe_skip_rsa_key_validation=True))
        else:
            curves = {each.jwk: each.kind for each in _CURVES.values()}
            curve = curves[str(fields.get("crv"))]
            key = ec.derive_private_key(_number(fields, "d"), curve())
    except (KeyError, ValueError, TypeError):
        raise _key_refused("it is not a private key in JWK format", None) from None
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def to_jwk(pem: bytes) -> dict[str, str]:
    """Return a private key in JWK notation. Raises as `load_private_key` does."""
    key = load_private_key(pem)
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.private_numbers()
        parts = {
            "n": numbers.public_numbers.n,
            "e": numbers.public_numbers.e,
            "d": numbers.d,
            "p": numbers.p,
            "q": numbers.q,
            "dp": numbers.dmp1,
            "dq": numbers.dmq1,
            "qi": numbers.iqmp,
        }
        return {"kty": "RSA", **{name: _unsigned(value) for name, value in parts.items()}}
    octets = (key.key_size + 7) // 8
    point = key.private_numbers()
    curve = next(each.jwk for each in _CURVES.values() if each.kind().name == key.curve.name)
    return {
        "kty": "EC",
        "crv": curve,
        "x": _unsigned(point.public_numbers.x, octets),
        "y": _unsigned(point.public_numbers.y, octets),
        "d": _unsigned(point.private_value, octets),
    }


def from_der(der: bytes) -> bytes:
    """Return a private key in DER (PKCS#1, SEC1 or PKCS#8) as PEM. Raises `ConfigurationError`."""
    try:
        key = load_der_private_key(der, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _key_refused("it is not a private key in DER format", None) from None
    if not isinstance(key, PrivateKey):
        raise _key_refused("it is neither an RSA nor an ECDSA key", None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(pem: bytes) -> bytes:
    """Return the public key of a private key as PEM. Raises as `load_private_key` does."""
    public = load_private_key(pem).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _number(fields: Mapping[str, object], name: str) -> int:
    text = fields[name]
    if not isinstance(text, str):
        raise TypeError(name)
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def _unsigned(value: int, octets: int | None = None) -> str:
    size = octets or max(1, (value.bit_length() + 7) // 8)
    return base64.urlsafe_b64encode(value.to_bytes(size)).rstrip(b"=").decode("ascii")


def _ec_key(pem: bytes) -> ec.EllipticCurvePrivateKey | None:
    """Return an EC key whose private value has too many or too few octets; None for anything else.

    RFC 5915 §3 fixes their number, but GnuTLS adds an octet for the sign to half of all keys, and
    others omit leading zeros. cryptography reads neither.
    """
    found = _EC_PEM.search(pem)
    if found is None:
        return None
    try:
        fields = _sequence(base64.b64decode(found[2]))
        curve = None
        if found[1] == b"PRIVATE KEY":
            algorithm = _items(fields[1][1])
            if algorithm[0][1] != _EC_PUBLIC_KEY:
                return None
            curve = algorithm[1][1]
            fields = _sequence(fields[2][1])
        octets, tagged = fields[1][1], dict(fields[2:])
        if 0xA0 in tagged:
            curve = _items(tagged[0xA0])[0][1]
        kind = next(each.kind for each in _CURVES.values() if each.oid == curve)
    except (ValueError, IndexError, StopIteration):
        return None
    value, size = int.from_bytes(octets), (kind().key_size + 7) // 8
    if len(octets) == size or value >> (8 * size) or not value:
        return None
    try:
        key = ec.derive_private_key(value, kind())
    except ValueError:
        return None
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    stated = _items(tagged[0xA1])[0][1][1:] if 0xA1 in tagged else point
    return key if stated == point else None


def _sequence(der: bytes) -> list[tuple[int, bytes]]:
    """Return the elements of a DER sequence, each as tag and content. Raises `ValueError`."""
    items = _items(der)
    if len(items) != 1 or items[0][0] != 0x30:
        raise ValueError("not a sequence")
    return _items(items[0][1])


def _items(der: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    while der:
        tag, length, start = der[0], der[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(der[2:start])
        if start + length > len(der):
            raise ValueError("cut off")
        found.append((tag, der[start : start + length]))
        der = der[start + length :]
    return found


def _key_refused(reason: str, hint: str | None) -> ConfigurationError:
    return ConfigurationError(
        f"the private key cannot be used: {reason}", hint=hint, code="configuration.key"
    )


def describe_key(key: PublicKey) -> tuple[str, str]:
    """Return the type of a public key, such as `ecdsa-p256`, and its digest."""
    match key:
        case rsa.RSAPublicKey():
            word = f"rsa-{key.key_size}"
        case ec.EllipticCurvePublicKey():
            known = (each for each, curve in _CURVES.items() if isinstance(key.curve, curve.kind))
            word = f"ecdsa-{next(known, key.curve.name)}"
        case _:
            word = type(key).__name__.removesuffix("PublicKey").lower()
    return word, digest_of_key(key)


def digest_of_key(key: PublicKey) -> str:
    """Return the SHA-256 digest of a key's SubjectPublicKeyInfo, in lower-case hexadecimal."""
    octets = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(octets).hexdigest()


def signature_hash(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384:
    """Return the hash for signatures: matching the curve (RFC 5758), SHA-256 for RSA."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size > 256:
        return hashes.SHA384()
    return hashes.SHA256()
