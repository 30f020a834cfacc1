"""Generates and loads private keys, and computes digests of public keys (RFC 7518, RFC 5480).

Keys are passed around as PEM bytes; they are parsed only here and where something is signed. Slow
to import (cryptography).
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from certctl.model.ca import AccountKeyType
from certctl.model.errors import ConfigurationError
from certctl.model.spec import KeyType

_CURVES: dict[str, type[ec.EllipticCurve]] = {
    KeyType.ECDSA_P256: ec.SECP256R1,
    KeyType.ECDSA_P384: ec.SECP384R1,
    AccountKeyType.ES256: ec.SECP256R1,
    AccountKeyType.ES384: ec.SECP384R1,
}
_RSA_BITS: dict[str, int] = {
    KeyType.RSA_2048: 2048,
    KeyType.RSA_3072: 3072,
    KeyType.RSA_4096: 4096,
    AccountKeyType.RS256: 2048,
}
_CURVE_NAMES = {"secp256r1": "p256", "secp384r1": "p384", "secp521r1": "p521"}

_EC_PEM = re.compile(rb"-----BEGIN ((?:EC )?PRIVATE KEY)-----([A-Za-z0-9+/=\s]+)-----END \1-----")
_EC_PUBLIC_KEY = bytes.fromhex("2a8648ce3d0201")
_OIDS: dict[bytes, type[ec.EllipticCurve]] = {
    bytes.fromhex("2a8648ce3d030107"): ec.SECP256R1,
    bytes.fromhex("2b81040022"): ec.SECP384R1,
    bytes.fromhex("2b81040023"): ec.SECP521R1,
}

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class PublicKey(Protocol):
    """The part of a public key's interface in cryptography that is used here."""

    def public_bytes(self, encoding: Encoding, format: PublicFormat) -> bytes:  # noqa: A002 - theirs
        ...


def generate_key(key_type: KeyType) -> bytes:
    """Return a new private key for a certificate, as unencrypted PKCS#8 in PEM."""
    return _generate(key_type)


def generate_account_key(kind: AccountKeyType) -> bytes:
    """Return a new private key for an account (RFC 8555 §6.2), as unencrypted PKCS#8 in PEM."""
    return _generate(kind)


def account_key_type(privkey: bytes) -> AccountKeyType:
    """Return the type of an account key. Raises `ConfigurationError` for unsupported ones."""
    match load_private_key(privkey):
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
    """Return whether a private key in PEM format belongs to the public key with this digest.

    Quicker than loading the key for use, which takes most of a second for a long RSA key: whether
    its numbers belong together is shown by a signature.
    """
    try:
        key = _ec_key(privkey) or load_pem_private_key(
            privkey, password=None, unsafe_skip_rsa_key_validation=True
        )
        if not isinstance(key, PrivateKey) or digest_of_key(key.public_key()) != key_sha256:
            return False
        if isinstance(key, rsa.RSAPrivateKey):
            signed = key.sign(b"certctl", padding.PKCS1v15(), hashes.SHA256())
            key.public_key().verify(signed, b"certctl", padding.PKCS1v15(), hashes.SHA256())
    except (TypeError, ValueError, UnsupportedAlgorithm, InvalidSignature):
        return False
    return True


def _generate(kind: str) -> bytes:
    key: PrivateKey
    if kind in _CURVES:
        key = ec.generate_private_key(_CURVES[kind]())
    else:
        key = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS[kind])
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_private_key(pem: bytes) -> PrivateKey:
    """Return the key in `pem`. Raises `ConfigurationError`, which does not quote the file."""
    # Errors of cryptography may quote the file, so their text is not passed on.
    key: object
    try:
        key = _ec_key(pem) or load_pem_private_key(pem, password=None)
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
        kind = _OIDS[curve or b""]
    except (ValueError, IndexError, KeyError):
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
            word = f"ecdsa-{_CURVE_NAMES.get(key.curve.name, key.curve.name)}"
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
