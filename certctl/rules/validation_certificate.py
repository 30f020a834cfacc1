"""Creates and recognises the certificate for TLS-ALPN-01 (RFC 8737 §3): self-signed, for one
identifier, with the digest of the key authorization.

`certctl.challenges` serves it for the few seconds of a validation.
"""

from __future__ import annotations

import hashlib
import ipaddress
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certctl.model.identifiers import Identifier, IdentifierType

ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
"""id-pe-acmeIdentifier (RFC 8737 §6.1)."""

_OCTET_STRING_OF_32 = b"\x04\x20"
_VALID_FOR = timedelta(days=1)


def server_name(identifier: Identifier) -> str:
    """Return the SNI name that the CA sends: for an IP address, its reverse-mapping name (RFC 8738
    §6).
    """
    if identifier.type == IdentifierType.IP:
        return ipaddress.ip_address(identifier.value).reverse_pointer
    return identifier.value


def validation_certificate(identifier: Identifier, key_authorization: str, now: datetime) -> bytes:
    """Return a new certificate as PEM: the private key, followed by the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ACME validation")])
    digest = hashlib.sha256(key_authorization.encode("ascii")).digest()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # The CA's clock may be behind this one.
        .not_valid_before(now - _VALID_FOR)
        .not_valid_after(now + _VALID_FOR)
        .add_extension(x509.SubjectAlternativeName([_general_name(identifier)]), critical=False)
        .add_extension(
            x509.UnrecognizedExtension(ACME_IDENTIFIER, _OCTET_STRING_OF_32 + digest), critical=True
        )
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


def is_answer(certificate: bytes, key_authorization: str) -> bool:
    """Return whether a certificate (DER) is the response for this key authorization."""
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        extension = parsed.extensions.get_extension_for_oid(ACME_IDENTIFIER).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    expected = _OCTET_STRING_OF_32 + hashlib.sha256(key_authorization.encode("ascii")).digest()
    return isinstance(extension, x509.UnrecognizedExtension) and extension.value == expected


def _general_name(identifier: Identifier) -> x509.GeneralName:
    if identifier.type == IdentifierType.IP:
        return x509.IPAddress(ipaddress.ip_address(identifier.value))
    return x509.DNSName(identifier.value)
