"""Private keys in notations that other programs write."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from certctl.ca.signing import Signer
from certctl.model.ca import AccountKeyType
from certctl.model.errors import ConfigurationError
from certctl.model.spec import KeyType
from certctl.rules import keys

CURVES = [
    (ec.SECP256R1(), "2a8648ce3d030107", 32),
    (ec.SECP384R1(), "2b81040022", 48),
    (ec.SECP521R1(), "2b81040023", 66),
]


def tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 128 else b"\x81" + bytes([size])
    if size > 255:
        length = b"\x82" + size.to_bytes(2)
    return bytes([tag]) + length + content


def pem(label: str, der: bytes) -> bytes:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n".encode()


def written(
    key: ec.EllipticCurvePrivateKey, oid: str, octets: int, *, pkcs8: bool, point: bool
) -> bytes:
    """A key with that many octets for its private value."""
    value = key.private_numbers().private_value.to_bytes(octets)
    public = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    curve = tlv(6, bytes.fromhex(oid))
    sec1 = b"\x02\x01\x01" + tlv(4, value)
    sec1 += b"" if pkcs8 else tlv(0xA0, curve)
    sec1 += tlv(0xA1, tlv(3, b"\0" + public)) if point else b""
    if not pkcs8:
        return pem("EC PRIVATE KEY", tlv(0x30, sec1))
    algorithm = tlv(0x30, tlv(6, bytes.fromhex("2a8648ce3d0201")) + curve)
    return pem("PRIVATE KEY", tlv(0x30, b"\x02\x01\x00" + algorithm + tlv(4, tlv(0x30, sec1))))


@pytest.mark.parametrize("point", [True, False], ids=["with its point", "without"])
@pytest.mark.parametrize("pkcs8", [True, False], ids=["PKCS#8", "SEC1"])
@pytest.mark.parametrize("more", [1, 2, -1], ids=["a sign octet", "two", "without leading zeros"])
@pytest.mark.parametrize(("curve", "oid", "size"), CURVES, ids=["P-256", "P-384", "P-521"])
def test_an_ec_key_with_more_or_fewer_octets_is_read(
    curve: ec.EllipticCurve, oid: str, size: int, more: int, *, pkcs8: bool, point: bool
) -> None:
    key = ec.derive_private_key((1 << (8 * (size - 2))) + 7, curve)
    text = written(key, oid, size + more, pkcs8=pkcs8, point=point)

    assert keys.key_sha256(text) == keys.digest_of_key(key.public_key())
    assert Signer.load(text).public_jwk == Signer.load(keys.standard_pem(text)).public_jwk


def test_a_key_whose_point_is_anothers_is_refused() -> None:
    key, other = (ec.derive_private_key(number, ec.SECP256R1()) for number in (5, 7))
    text = written(key, CURVES[0][1], 33, pkcs8=False, point=True)
    public, wrong = (
        each.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        for each in (key, other)
    )
    der = base64.b64decode(b"".join(text.splitlines()[1:-1])).replace(public, wrong)

    with pytest.raises(ConfigurationError, match="not a private key"):
        keys.load_private_key(pem("EC PRIVATE KEY", der))


@pytest.mark.parametrize(
    "der", [b"", b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x03\x02\x01\x01", bytes(40)]
)
def test_what_is_no_key_is_refused(der: bytes) -> None:
    for label in ("EC PRIVATE KEY", "PRIVATE KEY"):
        with pytest.raises(ConfigurationError, match="not a private key"):
            keys.load_private_key(pem(label, der))


@pytest.mark.parametrize("kind", list(KeyType))
def test_a_key_of_each_type_is_what_its_type_says(kind: KeyType) -> None:
    public = keys.load_private_key(keys.generate_key(kind)).public_key()

    assert keys.describe_key(public)[0] == kind


@pytest.mark.parametrize("kind", [KeyType.ECDSA_P384, KeyType.RSA_2048])
def test_a_key_fits_its_own_public_key_only(kind: KeyType) -> None:
    key, other = keys.generate_key(kind), keys.generate_key(kind)

    assert keys.fits(key, keys.key_sha256(key))
    assert not keys.fits(other, keys.key_sha256(key))
    assert not keys.fits(b"no key", keys.key_sha256(key))


def test_an_rsa_key_whose_private_number_is_wrong_does_not_fit() -> None:
    good = rsa.generate_private_key(65537, 2048)
    numbers = good.private_numbers()
    wrong = rsa.RSAPrivateNumbers(
        numbers.p, numbers.q, numbers.d ^ 2, numbers.dmp1 ^ 2, numbers.dmq1, numbers.iqmp,
        numbers.public_numbers,
    )  # fmt: skip
    bad = wrong.private_key(unsafe_skip_rsa_key_validation=True)
    text = bad.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    assert not keys.fits(text, keys.digest_of_key(good.public_key()))


@pytest.mark.parametrize("kind", list(AccountKeyType))
def test_a_key_in_jwk_notation_is_the_same_key(kind: AccountKeyType) -> None:
    key = keys.generate_account_key(kind)

    assert keys.from_jwk(keys.to_jwk(key)) == key


def test_a_jwk_that_is_no_key_is_refused_without_quoting_it() -> None:
    with pytest.raises(ConfigurationError) as refused:
        keys.from_jwk({"kty": "RSA", "n": "secret", "e": "AQAB"})

    assert refused.value.message == (
        "the private key cannot be used: it is not a private key in JWK format"
    )
