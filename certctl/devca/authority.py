"""The development CA's signing keys, and the certificates and CRLs that they sign.

Two intermediates, one for EC and one for RSA keys, each signed by an EC root (the default chain)
and by an RSA root (the alternate chain). `orders` decides what may be signed.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import field
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from certctl.devca.jws import encode
from certctl.model.errors import ConfigurationError
from certctl.model.lazy_dataclass import dataclass
from certctl.system.files import ensure_directory, write_atomic
from certctl.system.reading import read_own

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

ROOT_FILE = "root.pem"
ORGANIZATION = "certctl dev-ca, for development only"
CA_LIFETIME = timedelta(days=3650)
CRL_LIFETIME = timedelta(days=1)
"""How long a certificate revocation list is valid."""

_MAX_BYTES = 100_000
_NAMES = MappingProxyType(
    {
        "root": "certctl development root",
        "root-rsa": "certctl development root RSA",
        "ec": "certctl development E1",
        "rsa": "certctl development R1",
    }
)
_SIGNERS = MappingProxyType({"ec": ("root", "root-rsa"), "rsa": ("root", "root-rsa")})


@dataclass(frozen=True)
class LeafRequest:
    """The contents of a leaf certificate to sign."""

    public_key: CertificatePublicKeyTypes
    identifiers: Sequence[tuple[str, str]]
    not_before: datetime
    lifetime: timedelta
    common_name: str | None
    base: str


@dataclass(frozen=True)
class Authority:
    """All keys, and the root and intermediate certificates. An intermediate has two certificates:
    first the one signed by the EC root, then the one signed by the RSA root.
    """

    keys: dict[str, Key] = field(repr=False)
    certificates: dict[str, list[x509.Certificate]] = field(repr=False)

    @property
    def root_pem(self) -> bytes:
        """The root to trust."""
        return pem(self.certificates["root"][0])

    @property
    def rsa_root_pem(self) -> bytes:
        """The root of the alternate chains."""
        return pem(self.certificates["root-rsa"][0])

    def issuer_for(self, public_key: object) -> str:
        """Return the intermediate that signs certificates for this public key."""
        return "rsa" if isinstance(public_key, rsa.RSAPublicKey) else "ec"

    def intermediate(self, issuer: str, chain: int) -> bytes:
        """Return an intermediate in PEM, signed by the EC root (0) or by the RSA root (1)."""
        return pem(self.certificates[issuer][chain])

    def leaf(self, wanted: LeafRequest) -> tuple[str, x509.Certificate]:
        """Return the name of the issuer, and a server certificate."""
        issuer = self.issuer_for(wanted.public_key)
        parent = self.certificates[issuer][0]
        subject = x509.Name([])
        if wanted.common_name:
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted.common_name)])
        builder = _builder(subject, parent.subject, wanted.public_key, self.keys[issuer])
        places = [
            x509.AccessDescription(
                AuthorityInformationAccessOID.CA_ISSUERS,
                x509.UniformResourceIdentifier(f"{wanted.base}/issuer/{issuer}"),
            )
        ]
        lists = [x509.UniformResourceIdentifier(f"{wanted.base}/crl/{issuer}")]
        certificate = (
            builder.not_valid_before(wanted.not_before)
            .not_valid_after(wanted.not_before + wanted.lifetime)
            # RFC 5280 §4.2.1.6: critical if the subject is empty
            .add_extension(_alternatives(wanted.identifiers), critical=not wanted.common_name)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(encipherment=issuer == "rsa"), critical=True)
            .add_extension(_for_servers(), critical=False)
            .add_extension(x509.AuthorityInformationAccess(places), critical=False)
            .add_extension(
                x509.CRLDistributionPoints([x509.DistributionPoint(lists, None, None, None)]),
                critical=False,
            )
            .sign(self.keys[issuer], SHA256())
        )
        return issuer, certificate

    def revocation_list(
        self, issuer: str, revoked: Sequence[tuple[int, datetime, int]], now: datetime
    ) -> bytes:
        """Return the CRL of an intermediate in DER (RFC 5280 §5). `revoked` has the serial, time
        and reason of each certificate.
        """
        key = self.keys[issuer]
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificates[issuer][0].subject)
            .last_update(now)
            .next_update(now + CRL_LIFETIME)
            .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()),
                critical=False,
            )
        )
        for serial, when, reason in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when)
            if reason:
                flag = _REASONS[reason]
                entry = entry.add_extension(x509.CRLReason(flag), critical=False)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(key, SHA256()).public_bytes(serialization.Encoding.DER)

    def server_files(
        self, directory: Path, names: Sequence[str], now: datetime
    ) -> tuple[Path, Path]:
        """Write a certificate chain and its key for HTTPS on these names; return their paths."""
        key = ec.generate_private_key(ec.SECP256R1())
        wanted = LeafRequest(
            key.public_key(),
            [("ip" if _is_address(name) else "dns", name) for name in names],
            now - timedelta(hours=1),
            timedelta(days=365),
            None,
            "https://localhost",
        )
        issuer, leaf = self.leaf(wanted)
        chain, private = directory / "server.pem", directory / "server.key"
        write_atomic(private, _key_pem(key))
        write_atomic(chain, pem(leaf) + self.intermediate(issuer, 0), 0o644)
        return chain, private


_REASONS = MappingProxyType(
    {
        1: x509.ReasonFlags.key_compromise,
        2: x509.ReasonFlags.ca_compromise,
        3: x509.ReasonFlags.affiliation_changed,
        4: x509.ReasonFlags.superseded,
        5: x509.ReasonFlags.cessation_of_operation,
        6: x509.ReasonFlags.certificate_hold,
        9: x509.ReasonFlags.privilege_withdrawn,
        10: x509.ReasonFlags.aa_compromise,
    }
)
REASONS = frozenset({0, *_REASONS})
"""The defined CRLReason values (RFC 5280 §5.3.1)."""


def open_authority(directory: Path | None, now: datetime) -> Authority:
    """Return the keys and certificates in `directory`, creating those that are missing. If it is
    None, they are kept in memory only. Raises `StoreError`, `ConfigurationError`.
    """
    keys = {name: _key(directory, name) for name in _NAMES}
    found: dict[str, list[x509.Certificate]] = {}
    tag = secrets.token_hex(3)
    for name in _NAMES:
        stored = _load_certificates(directory, name)
        if stored is None:
            roots = _SIGNERS.get(name, (name,))
            parents = [found[root][0] if root != name else None for root in roots]
            stored = [
                _authority(name, tag, keys, root, parent, now)
                for root, parent in zip(roots, parents, strict=True)
            ]
            if directory:
                data = b"".join(pem(each) for each in stored)
                write_atomic(directory / f"{name}.pem", data, 0o644)
        found[name] = stored
    return Authority(keys, found)


def read_root(directory: Path) -> bytes | None:
    """Return the root to trust, None if `directory` has none yet."""
    return read_own(directory / ROOT_FILE, _MAX_BYTES)


def pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate in PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def cert_id(certificate: x509.Certificate) -> str:
    """Return the CertID (RFC 9773 §4.1), computed from the DER encoding of the serial number."""
    found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    serial = certificate.serial_number
    content = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return f"{encode(found.value.key_identifier or b'')}.{encode(content)}"


def _key(directory: Path | None, name: str) -> Key:
    path = directory / f"{name}.key" if directory else None
    data = read_own(path, _MAX_BYTES) if path else None
    if data is not None:
        try:
            loaded = serialization.load_pem_private_key(data, None)
        except ValueError:
            loaded = None
        if isinstance(loaded, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            return loaded
        raise ConfigurationError(
            f"{path} is not a valid private key",
            hint=f"Remove {directory} to create a new development CA.",
        )
    new_key: Key = (
        rsa.generate_private_key(65537, 2048)
        if name.endswith("rsa")
        else ec.generate_private_key(ec.SECP256R1())
    )
    if path:
        ensure_directory(path.parent)
        write_atomic(path, _key_pem(new_key))
    return new_key


def _load_certificates(directory: Path | None, name: str) -> list[x509.Certificate] | None:
    data = read_own(directory / f"{name}.pem", _MAX_BYTES) if directory else None
    if data is None:
        return None
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise ConfigurationError(
            f"{directory}/{name}.pem does not contain certificates",
            hint=f"Remove {directory} to create a new development CA.",
        ) from error


def _key_pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: CertificatePublicKeyTypes, signer: Key
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(secrets.randbits(128) | 1 << 120)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
            critical=False,
        )
    )


def _authority(
    name: str,
    tag: str,
    keys: dict[str, Key],
    signer: str,
    parent: x509.Certificate | None,
    now: datetime,
) -> x509.Certificate:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{_NAMES[name]} {tag}"),
        ]
    )
    issuer = parent.subject if parent else subject
    builder = (
        _builder(subject, issuer, keys[name].public_key(), keys[signer])
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + CA_LIFETIME)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(
            x509.BasicConstraints(ca=True, path_length=0 if parent else None), critical=True
        )
    )
    if parent:
        builder = builder.add_extension(_for_servers(), critical=False)
    return builder.sign(keys[signer], SHA256())


def _for_servers() -> x509.ExtendedKeyUsage:
    return x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


def _usage(*, signs: bool = False, encipherment: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_encipherment=encipherment,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(identifiers: Sequence[tuple[str, str]]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(
        [
            x509.IPAddress(ipaddress.ip_address(value)) if kind == "ip" else x509.DNSName(value)
            for kind, value in identifiers
        ]
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
