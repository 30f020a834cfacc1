"""The certificate that answers TLS-ALPN-01 (RFC 8737 §3): self-signed, for one identifier, with the
digest of the key authorization in it.

It proves something to a CA for a few seconds, and nothing to anybody else. Who shows it, and when,
is not known here.
"""

from __future__ import annotations

import hashlib
import ipaddress
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certctl.models import Identifier, IdentifierType

ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
"""id-pe-acmeIdentifier (RFC 8737 §6.1)."""

_OCTET_STRING_OF_32 = b"\x04\x20"
_VALID_FOR = timedelta(days=1)


def server_name(identifier: Identifier) -> str:
    """Return the name by which a CA asks for the certificate (SNI): of an address it is the name
    of its reverse mapping (RFC 8738 §6).
    """
    if identifier.type == IdentifierType.IP:
        return ipaddress.ip_address(identifier.value).reverse_pointer
    return identifier.value


def validation_certificate(identifier: Identifier, key_authorization: str, now: datetime) -> bytes:
    """Return a new certificate in PEM, with its private key before it."""
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
    """Return whether a certificate, as DER, answers a challenge with this key authorization."""
    try:
        shown = x509.load_der_x509_certificate(certificate)
        extension = shown.extensions.get_extension_for_oid(ACME_IDENTIFIER).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    wanted = _OCTET_STRING_OF_32 + hashlib.sha256(key_authorization.encode("ascii")).digest()
    return isinstance(extension, x509.UnrecognizedExtension) and extension.value == wanted


def _general_name(identifier: Identifier) -> x509.GeneralName:
    if identifier.type == IdentifierType.IP:
        return x509.IPAddress(ipaddress.ip_address(identifier.value))
    return x509.DNSName(identifier.value)
