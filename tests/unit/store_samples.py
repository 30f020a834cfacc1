"""A store in a directory of the test, and the values that its tests write into it."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from certctl.model.certificate import (
    CertificateFacts,
    IssuedCertificate,
    Material,
    Request,
    Version,
)
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.model.spec import CertificateSpec, KeyType
from certctl.model.values import Value
from certctl.rules.integrity import chain_sha256
from certctl.rules.settings import Settings
from certctl.rules.spec import resolve
from certctl.rules.x509 import facts as certificate_facts
from tests.lab.clock import SteerableClock
from tests.support.local_store import LocalStore

REPOSITORY = Path(__file__).parents[2]
"""Where a test's child processes run, so that they find `certctl` and `tests`."""

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
NAME = "example.com"
IDENTIFIERS = (Identifier(IdentifierType.DNS, NAME),)


def open_store(
    home: Path,
    *,
    settings: Settings | None = None,
    warn: Callable[[str], None] = lambda _message: None,
) -> LocalStore:
    return LocalStore(home, settings or Settings(), SteerableClock(NOW), warn=warn)


def wanted(name: str = NAME, **chosen: Value) -> CertificateSpec:
    """A spec; `key_group="www"` and the like are the user's choices, `__` stands for a dot."""
    choices = {key.replace("__", "."): value for key, value in chosen.items()}
    identifiers = (Identifier(IdentifierType.DNS, name),)
    return resolve(name, identifiers, choices, Settings())


def issued(name: str = NAME, mark: str = "1", **changes: Any) -> Version:
    """A version as the CA's answer gives it, before the store has numbered it."""
    identifiers = (Identifier(IdentifierType.DNS, name),)
    facts = certificate_facts(material(mark).cert)
    certificate = IssuedCertificate(
        facts=CertificateFacts(
            identifiers=identifiers,
            not_before=NOW,
            not_after=NOW + timedelta(days=90),
            serial="0a1b2c",
            sha256=facts.sha256,
            issuer="CN=An Issuer",
            key_type="ecdsa-p256",
            key_sha256=facts.key_sha256,
            ari_id="aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE",
        ),
        request=Request(identifiers, KeyType.ECDSA_P256, "https://ca.example/directory"),
        order_url="https://ca.example/order/1",
        account_url="https://ca.example/account/1",
        chain_sha256=chain_sha256(material(mark).chain),
    )
    return Version(name, 0, (replace(certificate, **changes),), issued=NOW)


def material(mark: str = "1", *, with_key: bool = True) -> Material:
    """Key, certificate and chain of one issuance, with its mark as their common name."""
    found = _material(mark)
    return found if with_key else replace(found, privkey=None)


@cache
def _material(mark: str) -> Material:
    # The key follows from the mark, so that another process has the same one.
    digest = hashlib.sha256(mark.encode()).digest()
    key = ec.derive_private_key(int.from_bytes(digest[:31]), ec.SECP256R1())
    return Material(
        cert=_self_signed(key, mark),
        chain=_self_signed(key, mark),
        privkey=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _self_signed(key: ec.EllipticCurvePrivateKey, mark: str) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, mark)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=90))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def mark_of(directory: Path) -> set[str]:
    """Which issuance the files of a directory come from; more than one would be a mixture."""
    certificates = [
        certificate
        for path in directory.glob("*.pem")
        if path.name != "privkey.pem"
        for certificate in x509.load_pem_x509_certificates(path.read_bytes())
    ]
    marks = {str(each.subject.rfc4514_string()).removeprefix("CN=") for each in certificates}
    keys = [
        each for each in directory.glob("*.pem") if each.name in {"privkey.pem", "combined.pem"}
    ]
    for path in keys:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        if any(key.public_key() != each.public_key() for each in certificates):
            marks.add(f"the key in {path.name}")
    return marks


def save(store: LocalStore, name: str = NAME, mark: str = "1", **chosen: Value) -> Version:
    """Save one version of a certificate, as an issuance would."""
    return store.save_version(wanted(name, **chosen), issued(name, mark), material(mark))


def mode(path: Path) -> int:
    return path.lstat().st_mode & 0o7777


def everything_below(directory: Path) -> list[str]:
    return sorted(str(each.relative_to(directory)) for each in directory.rglob("*"))
