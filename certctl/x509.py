"""Builds and reads certificate signing requests, and checks certificates (RFC 2986, RFC 5280).

Pure: PEM bytes in, values out, without files or a clock. Slow to import (cryptography), so
operations import it only when there is work to do. Every download from the CA is checked here
before it can become live.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
)
from cryptography.x509.oid import NameOID

from certctl import formats, keys
from certctl.errors import ConfigurationError, InspectionFailed, InvalidIdentifier, UsageError
from certctl.models import CertificateFacts, Identifier, IdentifierType
from certctl.names import parse_identifier
from certctl.text import NAME, escaped, printable

_MALFORMED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises for input that it cannot parse."""

_TOO_LONG = "Attribute's length must be"
"""How cryptography's warning about a long common name starts."""

_NOT_ISSUED_BY = (ValueError, TypeError, InvalidSignature)
"""What cryptography raises if one certificate was not issued by another."""

_Extended = x509.Certificate | x509.CertificateSigningRequest
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


@dataclass(frozen=True)
class CsrFacts:
    """The contents of a certificate signing request; digests are lower-case hexadecimal.

    `key_sha256` is the digest of the SubjectPublicKeyInfo and `sha256` that of the DER; `key_type`
    is as in `CertificateFacts`.
    """

    pem: bytes
    der: bytes
    identifiers: tuple[Identifier, ...]
    key_type: str
    key_sha256: str
    sha256: str


@dataclass(frozen=True)
class Inspected:
    """A download that passed all checks, split into certificate and chain (PEM, normalized).

    `chain` is empty if a trust anchor issued the certificate directly. `warnings` are for the user.
    """

    cert: bytes
    chain: bytes
    facts: CertificateFacts
    warnings: tuple[str, ...] = ()


def matches(privkey: bytes, cert: bytes) -> bool:
    """Return whether the private key matches the certificate (both PEM).

    Raises `ConfigurationError` for an unusable key, `InspectionFailed` for an unusable certificate.
    """
    return keys.key_sha256(privkey) == facts(cert).key_sha256


# Requests


def build_csr(privkey: bytes, identifiers: Iterable[Identifier]) -> bytes:
    """Return a signed CSR (RFC 2986) for `identifiers`, as DER.

    The subject is empty and all names are in the SAN: a common name is limited to 64 characters,
    cannot be an IP address, and is omitted by newer profiles; no CA needs it (RFC 8555 §7.4).
    """
    key = keys.load_private_key(privkey)
    names = [_general_name(each) for each in identifiers]
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, keys.signature_hash(key))
    )
    return request.public_bytes(Encoding.DER)


def read_csr(data: bytes) -> CsrFacts:
    """Return the contents of a CSR (PEM or DER); the names include its common name.

    Raises `UsageError` (`usage.csr`) if it cannot be parsed, is not signed with its own key, or has
    names that no ACME CA issues.
    """
    try:
        load = x509.load_pem_x509_csr if b"-----BEGIN" in data else x509.load_der_x509_csr
        request = load(data)
        signed = request.is_signature_valid
        identifiers = _requested(request)
        key_type, digest = keys.describe_key(request.public_key())
        der = request.public_bytes(Encoding.DER)
    except _MALFORMED as error:
        raise _csr_refused(f"it cannot be parsed: {error}") from error
    if not signed:
        raise _csr_refused("it is not signed with its own key")
    if not identifiers:
        raise _csr_refused("it has no names")
    return CsrFacts(
        pem=request.public_bytes(Encoding.PEM),
        der=der,
        identifiers=identifiers,
        key_type=key_type,
        key_sha256=digest,
        sha256=hashlib.sha256(der).hexdigest(),
    )


# Certificates


def facts(cert_pem: bytes) -> CertificateFacts:
    """Return the contents of the single certificate in `cert_pem`. Raises `InspectionFailed`."""
    with _reading():
        return _facts(_load(cert_pem))


def der(cert_pem: bytes) -> bytes:
    """Return the single certificate in `cert_pem` as DER, for a revocation (RFC 8555 §7.6)."""
    return formats.to_der(cert_pem)


def topmost_issuer(pem_chain: bytes) -> str:
    """Return the common name (or else organisation) of the issuer of the last certificate.

    Raises `InspectionFailed` if the chain cannot be parsed.
    """
    with _reading():
        return _common_name(_load(formats.split_certificates(pem_chain)[-1]).issuer)


def is_self_issued(pem_chain: bytes) -> bool:
    """Return whether issuer and subject of the first certificate are the same, as in a root.

    Raises `InspectionFailed` if it cannot be parsed.
    """
    with _reading():
        first = _load(formats.split_certificates(pem_chain)[0])
        return first.issuer == first.subject


def inspect(
    pem_chain: bytes,
    *,
    identifiers: Iterable[Identifier],
    key_sha256: str,
    now: datetime,
    anchors: bytes = b"",
) -> Inspected:
    """Check a download (RFC 8555 §7.4.2) against the request, and return it split.

    It must consist of certificates only: the leaf for the requested key and names, then each
    certificate's issuer (RFC 8555 §9.1). The leaf must not have expired. If it is not valid yet,
    that is only a warning, because a wrong clock on this machine is the more likely cause.

    A leaf without a chain is rejected, because clients could not verify it, unless one of `anchors`
    (PEM, such as the roots of a private CA) issued it directly.

    Raises `InspectionFailed` with the difference.
    """
    pem = formats.split_certificates(pem_chain)
    with _reading():
        certificates = [_load(each) for each in pem]
        found = _facts(certificates[0])
        _check_key(certificates, key_sha256)
        _check_names(found.identifiers, identifiers)
        if len(certificates) == 1:
            _check_anchored(certificates[0], anchors)
        warnings = [*_check_links(certificates), *_check_validity(certificates, now)]
    return Inspected(pem[0], formats.join(pem[1:]), found, tuple(warnings))


# Checks of a download


def _check_key(certificates: Sequence[x509.Certificate], wanted: str) -> None:
    digests = (keys.describe_key(each.public_key())[1] for each in certificates)
    found = next(digests)
    if found == wanted:
        return
    if wanted in digests:
        raise InspectionFailed(
            "the CA sent the chain in the wrong order: the issued certificate must come first",
            code="certificate.refused.order",
        )
    raise InspectionFailed(
        "the CA issued the certificate for a different key: the requested key has SHA-256"
        f" {wanted}, the certificate's has {found}",
        code="certificate.refused.key",
    )


def _check_names(found: Iterable[Identifier], wanted: Iterable[Identifier]) -> None:
    have = {(each.type, each.value.lower()) for each in found}
    want = {(each.type, each.value.lower()) for each in wanted}
    differences = [
        f"{word} {', '.join(sorted(value for _, value in group))}"
        for word, group in (("missing:", want - have), ("not requested:", have - want))
        if group
    ]
    if differences:
        raise InspectionFailed(
            f"the CA issued the certificate for the wrong names: {'; '.join(differences)}",
            code="certificate.refused.names",
        )


def _check_anchored(leaf: x509.Certificate, anchors: bytes) -> None:
    for anchor in _load_anchors(anchors):
        with suppress(*_NOT_ISSUED_BY, UnsupportedAlgorithm):
            return leaf.verify_directly_issued_by(anchor)
    raise InspectionFailed(
        "the CA sent the certificate without its chain: clients could not verify it without the"
        f" certificate of its issuer {_common_name(leaf.issuer)!r}",
        hint="If the root of a private CA issued it directly, give the root with --ca-bundle FILE.",
        code="certificate.refused.chain",
    )


def _check_links(certificates: Sequence[x509.Certificate]) -> Iterable[str]:
    """Yield a warning for each link that cannot be verified here; raise if one is broken."""
    for number, (certificate, issuer) in enumerate(pairwise(certificates), 1):
        try:
            certificate.verify_directly_issued_by(issuer)
        except UnsupportedAlgorithm as error:
            # An algorithm too new for cryptography must not make the renewal fail.
            yield f"could not check the signature of certificate {number} of the chain: {error}"
        except _NOT_ISSUED_BY as error:
            raise InspectionFailed(
                f"the CA sent an invalid chain: certificate {number} was issued by"
                f" {_common_name(certificate.issuer)!r}, not by certificate {number + 1}"
                f" ({_common_name(issuer.subject)!r})",
                code="certificate.refused.chain",
            ) from error


def _check_validity(certificates: Sequence[x509.Certificate], now: datetime) -> Iterable[str]:
    leaf = certificates[0]
    if leaf.not_valid_after_utc <= now:
        raise InspectionFailed(
            "the CA issued a certificate that expired at"
            f" {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; the clock of this machine shows"
            f" {now:%Y-%m-%d %H:%M} UTC",
            hint="Check the clock of this machine with: timedatectl",
            code="certificate.refused.expired",
        )
    if leaf.not_valid_before_utc > now:
        yield (
            f"the certificate is valid from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC, but the"
            f" clock of this machine shows {now:%Y-%m-%d %H:%M} UTC; check it with: timedatectl"
        )
    for issuer in certificates[1:]:
        if issuer.not_valid_after_utc <= now:
            yield (
                f"the certificate {_common_name(issuer.subject)!r} in the chain expired at"
                f" {issuer.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
            )


def _load_anchors(anchors: bytes) -> list[x509.Certificate]:
    # Files provided by users may contain comments, unlike a download.
    if not anchors.strip():
        return []
    try:
        return x509.load_pem_x509_certificates(anchors)
    except ValueError as error:
        raise ConfigurationError(
            f"the CA bundle cannot be parsed: {error}", code="configuration.ca_bundle"
        ) from error


# Reading a certificate


@contextmanager
def _reading() -> Iterator[None]:
    """Translate the errors of cryptography, which parses lazily, on any access to a certificate.

    Its warning about names that are too long is ignored: it is meant for those who create
    certificates.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", _TOO_LONG, UserWarning)
            yield
    except _MALFORMED as error:
        raise InspectionFailed(
            f"a certificate cannot be parsed: {error}", code="certificate.refused.unreadable"
        ) from error


def _load(pem: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(formats.to_der(pem))


def _facts(certificate: x509.Certificate) -> CertificateFacts:
    key_type, digest = keys.describe_key(certificate.public_key())
    return CertificateFacts(
        identifiers=_alternative_names(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        serial=_hexadecimal(certificate.serial_number),
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        issuer=_common_name(certificate.issuer),
        key_type=key_type,
        key_sha256=digest,
        ari_id=_ari_id(certificate),
    )


def _alternative_names(certificate: x509.Certificate) -> tuple[Identifier, ...]:
    names = _extension(certificate, x509.SubjectAlternativeName) or ()
    return tuple(filter(None, map(_identifier, names)))


def _identifier(name: x509.GeneralName) -> Identifier | None:
    match name:
        case x509.DNSName():
            # The value can be any text; escaped, it cannot be mistaken for another name.
            return Identifier(IdentifierType.DNS, escaped(name.value.lower(), NAME))
        case x509.IPAddress():
            return Identifier(IdentifierType.IP, str(name.value))
        case _:
            return None


def _ari_id(certificate: x509.Certificate) -> str | None:
    """Return the CertID of RFC 9773 §4.1; None without an authority key identifier."""
    authority = _extension(certificate, x509.AuthorityKeyIdentifier)
    if authority is None or authority.key_identifier is None:
        return None
    number = certificate.serial_number
    # The content octets of a DER INTEGER: with a leading zero octet if the high bit is set.
    serial = number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)
    return f"{_base64url(authority.key_identifier)}.{_base64url(serial)}"


def _extension(source: _Extended, kind: type[_Extension]) -> _Extension | None:
    try:
        return source.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _common_name(name: x509.Name) -> str:
    for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        for attribute in name.get_attributes_for_oid(oid):
            text = printable(attribute.value, NAME)
            if text:
                return text
    return printable(name.rfc4514_string(), NAME)


def _hexadecimal(serial: int) -> str:
    digits = f"{serial:x}"
    return digits if len(digits) % 2 == 0 else f"0{digits}"


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


# Reading a request


def _requested(request: x509.CertificateSigningRequest) -> tuple[Identifier, ...]:
    alternative = [
        _requested_identifier(each)
        for each in _extension(request, x509.SubjectAlternativeName) or ()
    ]
    common = [
        _parsed(str(attribute.value))
        for attribute in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    ]
    return tuple(dict.fromkeys([each for each in common if each not in alternative] + alternative))


def _requested_identifier(name: x509.GeneralName) -> Identifier:
    match name:
        case x509.DNSName():
            parsed = _parsed(name.value)
            if parsed.type is not IdentifierType.DNS:
                raise _csr_refused(f"it has the IP address {name.value} as a DNS name")
            return parsed
        case x509.IPAddress() if isinstance(
            name.value, ipaddress.IPv4Address | ipaddress.IPv6Address
        ):
            return Identifier(IdentifierType.IP, str(name.value))
        case _:
            raise _csr_refused(
                f"it has a name of type {type(name).__name__}; ACME supports only DNS names and IP"
                " addresses"
            )


def _parsed(text: str) -> Identifier:
    try:
        return parse_identifier(text)
    except InvalidIdentifier as error:
        raise _csr_refused(error.message) from error


def _csr_refused(reason: str) -> UsageError:
    return UsageError(
        f"the certificate signing request cannot be used: {reason}",
        hint="Show its contents with: openssl req -noout -text -in FILE",
        code="usage.csr",
    )


def _general_name(identifier: Identifier) -> x509.GeneralName:
    if identifier.type is IdentifierType.IP:
        return x509.IPAddress(ipaddress.ip_address(identifier.value))
    return x509.DNSName(identifier.value)
