"""Certificate signing requests, chains and the facts of a certificate (RFC 5280, RFC 2986).

Pure: PEM bytes in, values out, no file and no clock. Slow to import (cryptography), so only
operations import it, once there is something to do. What the CA sent is checked here before it may
become live; whether the certificate is served is another question.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
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

_MALFORMED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises, when it parses, for bytes that it cannot make sense of."""

_NOT_ISSUED_BY = (ValueError, TypeError, InvalidSignature)
"""What it raises where one certificate did not issue another."""

_Extended = x509.Certificate | x509.CertificateSigningRequest
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


@dataclass(frozen=True)
class CsrFacts:
    """What a certificate signing request asks for; digests in lower-case hexadecimal.

    `key_sha256` is the digest of its SubjectPublicKeyInfo, `sha256` that of its DER, `key_type` a
    word as in `CertificateFacts`.
    """

    pem: bytes
    der: bytes
    identifiers: tuple[Identifier, ...]
    key_type: str
    key_sha256: str
    sha256: str


@dataclass(frozen=True)
class Inspected:
    """A download that may become live: the leaf, the rest of the chain, and what to tell a person.

    `cert` and `chain` are PEM in its normal form; `chain` is empty for a leaf under an anchor.
    """

    cert: bytes
    chain: bytes
    facts: CertificateFacts
    warnings: tuple[str, ...] = ()


def matches(privkey: bytes, cert: bytes) -> bool:
    """Return whether the key and the certificate (both PEM) belong together.

    Raises `ConfigurationError` for an unusable key, `InspectionFailed` for an unusable certificate.
    """
    return keys.key_sha256(privkey) == facts(cert).key_sha256


# Requests


def build_csr(privkey: bytes, identifiers: Iterable[Identifier]) -> bytes:
    """Return a signed CSR (RFC 2986) for `identifiers`, as DER.

    The subject is empty and every name stands in the SAN: a common name holds 64 characters only,
    cannot be an address, and is gone from newer profiles; no CA needs it (RFC 8555 §7.4).
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
    """Return what a CSR (PEM or DER) asks for, its common name included.

    Raises `UsageError` (`usage.csr`) where it cannot be read, is not signed by its own key, or asks
    for what no ACME CA issues.
    """
    try:
        load = x509.load_pem_x509_csr if b"-----BEGIN" in data else x509.load_der_x509_csr
        request = load(data)
        signed = request.is_signature_valid
        identifiers = _requested(request)
        key_type, digest = keys.describe_key(request.public_key())
        der = request.public_bytes(Encoding.DER)
    except _MALFORMED as error:
        raise _csr_refused(f"it cannot be read: {error}") from error
    if not signed:
        raise _csr_refused("its signature is not by its own key")
    if not identifiers:
        raise _csr_refused("it has no name")
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
    """Return what the one certificate in `cert_pem` says of itself; raises `InspectionFailed`."""
    with _reading():
        return _facts(_load(cert_pem))


def der(cert_pem: bytes) -> bytes:
    """Return the one certificate in `cert_pem` as DER, as a revocation wants it (RFC 8555 §7.6)."""
    return formats.to_der(cert_pem)


def topmost_issuer(pem_chain: bytes) -> str:
    """Return the common name of the last certificate's issuer, by which chains are preferred.

    Falls back to its organisation; raises `InspectionFailed` where the chain cannot be read.
    """
    with _reading():
        return _common_name(_load(formats.split_certificates(pem_chain)[-1]).issuer)


def is_self_issued(pem_chain: bytes) -> bool:
    """Return whether the first certificate of a chain names itself as its issuer, as roots do.

    Raises `InspectionFailed` where it cannot be read.
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
    """Check a download (RFC 8555 §7.4.2) against what was asked for, and return it split.

    It must be certificates only: first the leaf, for our key and for exactly our names, then each
    one issued by the next (RFC 8555 §9.1). It must not have expired; one that is not valid yet only
    warns, since the clock of this machine is the likelier cause.

    A leaf alone is refused, because visitors would miss the intermediate: unless one of `anchors`
    (PEM, such as a private CA's roots) issued it directly.

    Raises `InspectionFailed` naming what differs.
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


# What must hold of a download


def _check_key(certificates: Sequence[x509.Certificate], wanted: str) -> None:
    digests = (keys.describe_key(each.public_key())[1] for each in certificates)
    found = next(digests)
    if found == wanted:
        return
    if wanted in digests:
        raise InspectionFailed(
            "the CA's chain is out of order: our certificate must be the first",
            code="certificate.refused.order",
        )
    raise InspectionFailed(
        f"the CA's certificate is for another key: ours has SHA-256 {wanted}, this one {found}",
        code="certificate.refused.key",
    )


def _check_names(found: Iterable[Identifier], wanted: Iterable[Identifier]) -> None:
    have = {(each.type, each.value.lower()) for each in found}
    want = {(each.type, each.value.lower()) for each in wanted}
    differences = [
        f"{word} {', '.join(sorted(value for _, value in group))}"
        for word, group in (("it lacks", want - have), ("nobody asked for", have - want))
        if group
    ]
    if differences:
        raise InspectionFailed(
            f"the CA's certificate has other names than were asked for: {'; '.join(differences)}",
            code="certificate.refused.names",
        )


def _check_anchored(leaf: x509.Certificate, anchors: bytes) -> None:
    for anchor in _load_anchors(anchors):
        with suppress(*_NOT_ISSUED_BY, UnsupportedAlgorithm):
            return leaf.verify_directly_issued_by(anchor)
    raise InspectionFailed(
        "the CA sent the certificate without its chain: it is issued by"
        f" {_common_name(leaf.issuer)!r}, which clients would not find",
        hint="If a private CA's root issues directly, name that root with --ca-bundle FILE.",
        code="certificate.refused.chain",
    )


def _check_links(certificates: Sequence[x509.Certificate]) -> Iterable[str]:
    """Yield a warning for a link that cannot be verified here; raise for one that is broken."""
    for number, (certificate, issuer) in enumerate(pairwise(certificates), 1):
        try:
            certificate.verify_directly_issued_by(issuer)
        except UnsupportedAlgorithm as error:
            # A newer algorithm than this cryptography knows is no reason to let a site expire.
            yield f"the signature of certificate {number} of the chain was not checked: {error}"
        except _NOT_ISSUED_BY as error:
            raise InspectionFailed(
                f"the CA's chain does not link: certificate {number} names"
                f" {_common_name(certificate.issuer)!r} as its issuer, and number {number + 1},"
                f" {_common_name(issuer.subject)!r}, did not issue it",
                code="certificate.refused.chain",
            ) from error


def _check_validity(certificates: Sequence[x509.Certificate], now: datetime) -> Iterable[str]:
    leaf = certificates[0]
    if leaf.not_valid_after_utc <= now:
        raise InspectionFailed(
            f"the CA's certificate expired at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC;"
            f" the clock here says {now:%Y-%m-%d %H:%M} UTC",
            hint="Check the clock of this machine (timedatectl).",
            code="certificate.refused.expired",
        )
    if leaf.not_valid_before_utc > now:
        yield (
            f"the certificate is valid from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on, but"
            f" the clock here says {now:%Y-%m-%d %H:%M} UTC: check the clock (timedatectl)"
        )
    for issuer in certificates[1:]:
        if issuer.not_valid_after_utc <= now:
            yield (
                f"{_common_name(issuer.subject)!r} in the CA's chain expired at"
                f" {issuer.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
            )


def _load_anchors(anchors: bytes) -> list[x509.Certificate]:
    # People's own files: unlike a download they may hold comments.
    if not anchors.strip():
        return []
    try:
        return x509.load_pem_x509_certificates(anchors)
    except ValueError as error:
        raise ConfigurationError(
            f"the CA bundle cannot be read: {error}", code="configuration.ca_bundle"
        ) from error


# Reading a certificate


@contextmanager
def _reading() -> Iterator[None]:
    """Translate what cryptography raises: it parses late, so any look at a certificate may."""
    try:
        yield
    except _MALFORMED as error:
        raise InspectionFailed(
            f"a certificate cannot be read: {error}", code="certificate.refused.unreadable"
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
            return Identifier(IdentifierType.DNS, name.value.lower())
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
    # The content octets of a DER INTEGER: with a leading zero octet where the high bit is set.
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
            if isinstance(attribute.value, str):
                return attribute.value
    return name.rfc4514_string()


def _hexadecimal(serial: int) -> str:
    digits = f"{serial:x}"
    return digits if len(digits) % 2 == 0 else f"0{digits}"


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


# Reading a request


def _requested(request: x509.CertificateSigningRequest) -> tuple[Identifier, ...]:
    asked = [
        _requested_identifier(each)
        for each in _extension(request, x509.SubjectAlternativeName) or ()
    ]
    common = [
        _parsed(str(attribute.value))
        for attribute in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    ]
    return tuple(dict.fromkeys([each for each in common if each not in asked] + asked))


def _requested_identifier(name: x509.GeneralName) -> Identifier:
    match name:
        case x509.DNSName():
            parsed = _parsed(name.value)
            if parsed.type is not IdentifierType.DNS:
                raise _csr_refused(f"it has the address {name.value} as a DNS name")
            return parsed
        case x509.IPAddress() if isinstance(
            name.value, ipaddress.IPv4Address | ipaddress.IPv6Address
        ):
            return Identifier(IdentifierType.IP, str(name.value))
        case _:
            raise _csr_refused(
                f"it asks for a name of the kind {type(name).__name__}; ACME knows DNS names and"
                " addresses only"
            )


def _parsed(text: str) -> Identifier:
    try:
        return parse_identifier(text)
    except InvalidIdentifier as error:
        raise _csr_refused(error.message) from error


def _csr_refused(reason: str) -> UsageError:
    return UsageError(
        f"the certificate signing request is refused: {reason}",
        hint="See what it holds with: openssl req -noout -text -in FILE",
        code="usage.csr",
    )


def _general_name(identifier: Identifier) -> x509.GeneralName:
    if identifier.type is IdentifierType.IP:
        return x509.IPAddress(ipaddress.ip_address(identifier.value))
    return x509.DNSName(identifier.value)
