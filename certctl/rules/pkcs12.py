"""A certificate, its chain and its key as PKCS#12 (RFC 7292)."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    KeySerializationEncryption,
    PrivateFormat,
    pkcs12,
)

from certctl.model.certificate import Material
from certctl.model.errors import ConfigurationError
from certctl.model.spec import Pkcs12Encryption
from certctl.rules import keys

_LEGACY_ROUNDS = 20_000


def to_pkcs12(
    material: Material,
    chain: Sequence[bytes],
    name: str,
    password: str,
    encryption: Pkcs12Encryption | None,
) -> bytes:
    """Return a file with the certificate, these certificates of its chain (PEM) and its key.

    Raises `ConfigurationError` if OpenSSL here cannot encrypt it that way.
    """
    algorithm: KeySerializationEncryption = BestAvailableEncryption(password.encode())
    if encryption is Pkcs12Encryption.LEGACY:
        # What Windows Server 2016, macOS and many appliances read: PBE with SHA-1 and 3DES.
        algorithm = (
            PrivateFormat.PKCS12.encryption_builder()
            .kdf_rounds(_LEGACY_ROUNDS)
            .key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
            .hmac_hash(hashes.SHA1())  # noqa: S303 - see above
            .build(password.encode())
        )
    try:
        return pkcs12.serialize_key_and_certificates(
            name.encode(),
            keys.load_private_key(material.privkey or b""),
            x509.load_pem_x509_certificate(material.cert),
            [x509.load_pem_x509_certificate(each) for each in chain] or None,
            algorithm,
        )
    except UnsupportedAlgorithm as error:
        raise ConfigurationError(
            f"OpenSSL on this machine does not support the {encryption} encryption of PKCS#12",
            hint="Use the modern encryption.",
            code="configuration.pkcs12",
        ) from error
