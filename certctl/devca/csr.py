"""Checks certificate signing requests (RFC 8555 §7.4): exactly the ordered names, an acceptable key
other than the account's, a valid signature.
"""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from certctl.devca import jws
from certctl.devca.jws import PublicKey
from certctl.devca.problems import Problem

_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


def check(text: object, identifiers: list[dict[str, str]], account_key: PublicKey) -> bytes:
    """Return the request in DER; raises `Problem` badCSR."""
    der = jws.decode(text, "the csr")
    try:
        request = x509.load_der_x509_csr(der)
        holds = request.is_signature_valid
        public_key = request.public_key()
        names = _names(request)
    except InvalidSignature:
        holds = False
    except Problem:
        raise
    except Exception as error:  # noqa: BLE001 - the library raises any exception for a malicious CSR
        raise Problem("badCSR", f"cannot be parsed: {type(error).__name__}") from None
    if not holds:
        raise Problem("badCSR", "its signature is wrong")
    _check_key(public_key, account_key)
    wanted = {(each["type"], each["value"]) for each in identifiers}
    if names != wanted:
        different = ", ".join(sorted(value for _, value in names ^ wanted))
        raise Problem("badCSR", f"its names differ from the order's: {different:.400}")
    return der


def _names(request: x509.CertificateSigningRequest) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    try:
        extension = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        general: list[Any] = []
    else:
        general = list(extension.value)
    for each in general:
        if isinstance(each, x509.DNSName):
            found.add(("dns", each.value.lower()))
        elif isinstance(each, x509.IPAddress):
            found.add(("ip", str(each.value)))
        else:
            raise Problem("badCSR", f"it contains a name of unsupported type {type(each).__name__}")
    for attribute in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        value = str(attribute.value).lower()
        if ("ip", value) not in found:
            found.add(("dns", value))
    return found


def _check_key(public_key: Any, account_key: PublicKey) -> None:
    if isinstance(public_key, rsa.RSAPublicKey):
        good = 2048 <= public_key.key_size <= 8192
    else:
        good = isinstance(public_key, ec.EllipticCurvePublicKey) and isinstance(
            public_key.curve, _CURVES
        )
    if not good:
        raise Problem(
            "badCSR", "its key is neither RSA with at least 2048 bits nor on a NIST curve"
        )
    if jws.numbers_of(public_key.public_numbers()) == account_key.numbers:
        raise Problem("badCSR", "its key is the account key")
