"""The scripted CA's roots and intermediate, and the leaf certificates that it signs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.lab.scripted_ca.jws import b64

# "dns:example.com" or "ip:192.0.2.1": one string, so that names compare and sort
Name: TypeAlias = str
Key: TypeAlias = ec.EllipticCurvePrivateKey


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def spki(public_key: Any) -> bytes:
    """A public key as bytes, for comparison (josepy wraps its keys)."""
    encoded: bytes = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def names_of(csr: x509.CertificateSigningRequest) -> set[Name]:
    """The names in a CSR's subjectAltName extension and common name (RFC 8555 §7.4)."""
    common = csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    names = {f"dns:{attribute.value!s}" for attribute in common}
    try:
        alternatives = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return names
    names |= {f"dns:{name}" for name in alternatives.get_values_for_type(x509.DNSName)}
    names |= {f"ip:{address}" for address in alternatives.get_values_for_type(x509.IPAddress)}
    return names


def certificate_id(certificate: x509.Certificate) -> str:
    """RFC 9773 §4.1: the issuer's key identifier and the DER content octets of the serial."""
    extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    serial = certificate.serial_number
    octets = serial.to_bytes(serial.bit_length() // 8 + 1, "big")  # one extra bit for the sign
    return f"{b64(extension.value.key_identifier or b'')}.{b64(octets)}"


@dataclass(frozen=True)
class Issued:
    """A certificate, with the names, account and order that it was issued for."""

    certificate: x509.Certificate
    issuer: Issuer
    names: tuple[Name, ...]
    account_url: str
    order_url: str
    profile: str | None
    replaces: str | None

    @property
    def serial(self) -> int:
        return self.certificate.serial_number

    @property
    def certificate_id(self) -> str:
        return certificate_id(self.certificate)

    def reissued(
        self,
        *,
        names: tuple[Name, ...] | None = None,
        public_key: CertificatePublicKeyTypes | None = None,
    ) -> Issued:
        """A copy with other names or another key, for chains that a client must refuse."""
        certificate = self.issuer.leaf(
            public_key or self.certificate.public_key(),
            names or self.names,
            not_before=self.certificate.not_valid_before_utc,
            lifetime=timedelta(days=90),
        )
        return replace(self, certificate=certificate)


def _new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class Issuer:
    """A root and an intermediate. More roots cross-sign the intermediate's key as alternate chains
    are requested."""

    roots: list[x509.Certificate] = field(default_factory=list)
    intermediates: list[x509.Certificate] = field(default_factory=list)
    _key: Key = field(default_factory=_new_key, repr=False)

    def __post_init__(self) -> None:
        self._add_root()

    @property
    def intermediate(self) -> x509.Certificate:
        return self.intermediates[0]

    def alternate(self, number: int) -> x509.Certificate:
        """The intermediate signed by root `number`; 0 is that of the default chain."""
        while len(self.roots) <= number:
            self._add_root()
        return self.intermediates[number]

    def cross_signed_root(self) -> x509.Certificate:
        """The root of the default chain, signed by another one, as for clients that lack it."""
        today, root, key = datetime.now(UTC), self.roots[0], _new_key()
        builder = _builder(root.subject, _common_name("Older Root"), root.public_key(), key)
        return (
            builder.not_valid_before(today - timedelta(days=400))
            .not_valid_after(today + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, SHA256())
        )

    def leaf(
        self,
        public_key: CertificatePublicKeyTypes,
        names: tuple[Name, ...],
        *,
        not_before: datetime,
        lifetime: timedelta,
    ) -> x509.Certificate:
        """A server certificate without a common name; all names are in subjectAltName."""
        builder = _builder(x509.Name([]), self.intermediate.subject, public_key, self._key)
        for_servers = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        return (
            builder.not_valid_before(not_before)
            .not_valid_after(not_before + lifetime)
            .add_extension(_alternatives(names), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(for_servers, critical=False)
            .sign(self._key, SHA256())
        )

    def _add_root(self) -> None:
        root_key = _new_key()
        root = _authority(f"Scripted Root X{len(self.roots) + 1}", root_key)
        self.roots.append(root)
        self.intermediates.append(
            _authority("Scripted Intermediate E1", self._key, signer=root, signer_key=root_key)
        )


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternatives(names: tuple[Name, ...]) -> x509.SubjectAlternativeName:
    split = [name.partition(":") for name in names]
    return x509.SubjectAlternativeName(
        [
            x509.IPAddress(ip_address(value)) if kind == "ip" else x509.DNSName(value)
            for kind, _, value in split
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: CertificatePublicKeyTypes, signer_key: Key
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(public_key)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .add_extension(identifier, critical=False)
        .add_extension(authority, critical=False)
    )


def _authority(
    name: str,
    key: Key,
    *,
    signer: x509.Certificate | None = None,
    signer_key: Key | None = None,
) -> x509.Certificate:
    subject, today = _common_name(name), datetime.now(UTC)
    builder = _builder(
        subject, signer.subject if signer else subject, key.public_key(), signer_key or key
    )
    return (
        builder.not_valid_before(today - timedelta(days=400))  # leaves may be backdated too
        .not_valid_after(today + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(key_cert_sign=True), critical=True)
        .sign(signer_key or key, SHA256())
    )


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
