"""A throwaway TLS root and a server certificate under it, for servers that tests start.

The CA of this module only lets tests speak HTTPS to a server; it is not an ACME CA.
"""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
VALIDITY = timedelta(days=7)


@dataclass(frozen=True)
class ServerCertificate:
    """Files in PEM: what the server loads, and the root that its clients trust."""

    certificate: Path
    private_key: Path
    ca_bundle: Path


@dataclass(frozen=True)
class Issuer:
    """Files in PEM: a root and its key, for a CA that is told what to sign with."""

    certificate: Path
    private_key: Path


def make_issuer(directory: Path) -> Issuer:
    """Write a new root and its key into `directory`."""
    key = ec.generate_private_key(ec.SECP256R1())
    files = Issuer(certificate=directory / "issuer.pem", private_key=directory / "issuer.key")
    files.certificate.write_bytes(_root(key).public_bytes(serialization.Encoding.PEM))
    _write_key(files.private_key, key)
    return files


def make_server_certificate(
    directory: Path,
    names: tuple[str, ...] = LOOPBACK_NAMES,
    *,
    start: datetime | None = None,
) -> ServerCertificate:
    """Write a new root and a certificate for DNS names and addresses into `directory`. The
    certificate is valid for a week from `start`, which is an hour ago by default."""
    root_key = ec.generate_private_key(ec.SECP256R1())
    root = _root(root_key)
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = _leaf(key, names, root, root_key, start)
    files = ServerCertificate(
        certificate=directory / "server.pem",
        private_key=directory / "server.key",
        ca_bundle=directory / "ca-bundle.pem",
    )
    files.certificate.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    files.ca_bundle.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    _write_key(files.private_key, key)
    return files


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def _root(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _name("certctl test root")
    usage = _key_usage(signs_certificates=True)
    return (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )


def _leaf(
    key: ec.EllipticCurvePrivateKey,
    names: tuple[str, ...],
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    start: datetime | None,
) -> x509.Certificate:
    issuer_key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    return (
        _builder(_name(names[0]), root.subject, key.public_key(), start)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), critical=False)
        .add_extension(issuer_key_id, critical=False)
        .sign(root_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    start: datetime | None = None,
) -> x509.CertificateBuilder:
    # An hour of slack, so that a test under a clock set back a little still trusts the server.
    start = start or datetime.now(UTC) - timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + VALIDITY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
