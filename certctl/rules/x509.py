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
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
)
from cryptography.x509.oid import NameOID

from certctl.model.certificate import CertificateFacts
from certctl.model.errors import ConfigurationError, InspectionFailed, InvalidIdentifier, UsageError
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.model.lazy_dataclass import dataclass
from certctl.model.names import parse_identifier
from certctl.model.text import NAME, escaped, printable
from certctl.rules import chain, formats, keys
from certctl.rules.chain import extension

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

CLOCK_TOLERANCE = timedelta(minutes=5)
"""Clocks that differ by less are the same for a person."""


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


def shortest(chains: Sequence[Inspected]) -> Inspected:
    """Return the one with the fewest certificates, of several the first."""
    return min(chains, key=lambda each: len(formats.split_certificates(each.cert + each.chain)))


def matches(privkey: bytes, cert: bytes) -> bool:
    """Return whether the private key matches the certificate (both PEM).

    Raises `ConfigurationError` for an unusable key, `InspectionFailed` for an unusable certificate.
    """
    return keys.key_sha256(privkey) == facts(cert).key_sha256


# Requests


def build_csr(
    privkey: bytes, identifiers: Iterable[Identifier], common_name: str | None = None
) -> bytes:
    """Return a signed CSR (RFC 2986) for `identifiers`, as DER.

    All names are in the SAN. By default the subject is empty: a common name is limited to 64
    characters, and newer profiles omit it; few CAs insist on one (RFC 8555 §7.4).
    """
    key = keys.load_private_key(privkey)
    names = [_general_name(each) for each in identifiers]
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_subject(common_name))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, keys.signature_hash(key))
    )
    return request.public_bytes(Encoding.DER)


def _subject(common_name: str | None) -> x509.Name:
    if common_name is None:
        return x509.Name([])
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


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
        raise _csr_refused(f"it cannot be parsed: {_reason(error)}") from error
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


def must_staple(cert_pem: bytes) -> bool:
    """Return whether a certificate requires OCSP stapling (RFC 7633). Raises `InspectionFailed`."""
    with _reading():
        return extension(_load(cert_pem), x509.TLSFeature) is not None


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
    ca_time: datetime | None = None,
) -> Inspected:
    """Check a download (RFC 8555 §7.4.2) against the request, and return what to serve.

    It must contain only certificates: the leaf for the requested key and names, and its issuers, in
    any order. What clients would reject is refused, and so is an expired leaf. If the leaf is not
    valid yet, that is only a warning, because a wrong clock on this machine is the more likely
    cause: `ca_time`, the time of the CA's response, decides what the warning says.

    A leaf without its issuer is refused, because clients could not verify it, unless one of
    `anchors` (PEM, such as the roots of a private CA) issued it directly. Names that the CA added
    are a warning.

    Raises `InspectionFailed` with the difference.
    """
    pem = formats.split_certificates(pem_chain)
    if len(pem) > chain.MAX_CERTIFICATES:
        raise InspectionFailed(
            f"the CA sent {len(pem)} certificates; at most {chain.MAX_CERTIFICATES} are accepted",
            code="certificate.refused.chain",
        )
    with _reading():
        certificates = [_load(each) for each in pem]
        leaf = _leaf(certificates, key_sha256)
        found = _facts(leaf)
        added = _check_names(found.identifiers, identifiers)
        chain.check_leaf(leaf)
        path = chain.build_path(leaf, [each for each in certificates if each is not leaf])
        if len(path.certificates) == 1:
            _check_anchored(leaf, [each for each in certificates if each is not leaf], anchors)
        chain.check_issuers(path.certificates[1:])
        notes = (
            *added,
            *path.warnings,
            *_ignored(path.unrelated if len(path.certificates) > 1 else ()),
            *chain.weaknesses(path.certificates),
            *_check_validity(path.certificates, now, ca_time),
        )
        issuers = [each.public_bytes(Encoding.PEM) for each in path.certificates[1:]]
        cert = formats.to_pem(leaf.public_bytes(Encoding.DER))
    return Inspected(cert, formats.join(issuers), found, notes)


# Checks of a download


def _leaf(certificates: Sequence[x509.Certificate], wanted: str) -> x509.Certificate:
    """Return the certificate for the requested key, which need not be the first one."""
    digests = [keys.describe_key(each.public_key())[1] for each in certificates]
    if wanted in digests:
        return certificates[digests.index(wanted)]
    raise InspectionFailed(
        "the CA issued the certificate for a different key: the requested key has SHA-256"
        f" {wanted}, the certificate's has {digests[0]}",
        code="certificate.refused.key",
    )


def _check_names(found: Iterable[Identifier], wanted: Iterable[Identifier]) -> Iterable[str]:
    """Return a warning for names that the CA added; raise if one is missing."""
    have = {(each.type, each.value.lower()) for each in found}
    want = {(each.type, each.value.lower()) for each in wanted}
    missing, added = (
        ", ".join(sorted(value for _, value in group)) for group in (want - have, have - want)
    )
    if missing:
        more = f"; not requested: {added}" if added else ""
        raise InspectionFailed(
            f"the CA issued the certificate for the wrong names: missing: {missing}{more}",
            code="certificate.refused.names",
        )
    return [f"the CA added names that were not requested: {added}"] if added else []


def _check_anchored(
    leaf: x509.Certificate, others: Sequence[x509.Certificate], anchors: bytes
) -> None:
    for anchor in _load_anchors(anchors):
        with suppress(*chain.NOT_ISSUED_BY, UnsupportedAlgorithm):
            return leaf.verify_directly_issued_by(anchor)
    issuer = repr(_common_name(leaf.issuer))
    if others:
        sent = ", ".join(repr(_common_name(each.subject)) for each in others[:5])
        raise InspectionFailed(
            f"the CA sent an invalid chain: the certificate was issued by {issuer}, which did not"
            f" sign it or is not among the certificates sent with it ({sent})",
            code="certificate.refused.chain",
        )
    raise InspectionFailed(
        "the CA sent the certificate without its chain: clients could not verify it without the"
        f" certificate of its issuer {issuer}",
        hint="If the root of a private CA issued it directly, give the root with --ca-bundle FILE.",
        code="certificate.refused.chain",
    )


def _ignored(unrelated: Sequence[x509.Certificate]) -> Iterable[str]:
    if unrelated:
        names = ", ".join(repr(_common_name(each.subject)) for each in unrelated[:5])
        yield f"certificates from the CA that do not belong to the chain are left out: {names}"


def _check_validity(
    certificates: Sequence[x509.Certificate], now: datetime, ca_time: datetime | None
) -> Iterable[str]:
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
            f" clock of this machine shows {now:%Y-%m-%d %H:%M} UTC; {_whose_clock(now, ca_time)}"
        )
    for issuer in certificates[1:]:
        if issuer.not_valid_after_utc <= now:
            yield (
                f"the certificate {_common_name(issuer.subject)!r} in the chain expired at"
                f" {issuer.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
            )


def _whose_clock(now: datetime, ca_time: datetime | None) -> str:
    if ca_time is not None and abs(ca_time - now) < CLOCK_TOLERANCE:
        return "the CA's clock shows the same time, so the CA postdated the certificate"
    return "check it with: timedatectl"


def _load_anchors(anchors: bytes) -> list[x509.Certificate]:
    # Files provided by users may contain comments, unlike a download.
    if not anchors.strip():
        return []
    try:
        return x509.load_pem_x509_certificates(anchors)
    except ValueError as error:
        raise ConfigurationError(
            f"the CA bundle cannot be parsed: {_reason(error)}", code="configuration.ca_bundle"
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
            f"a certificate cannot be parsed: {_reason(error)}",
            code="certificate.refused.unreadable",
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
    names = extension(certificate, x509.SubjectAlternativeName) or ()
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
    authority = extension(certificate, x509.AuthorityKeyIdentifier)
    if authority is None or authority.key_identifier is None:
        return None
    number = certificate.serial_number
    # The content octets of a DER INTEGER: with a leading zero octet if the high bit is set.
    serial = number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)
    return f"{_base64url(authority.key_identifier)}.{_base64url(serial)}"


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
        for each in extension(request, x509.SubjectAlternativeName) or ()
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


def _reason(error: Exception) -> str:
    """Return what `cryptography` reports, without the internals of its parser."""
    return str(error).partition(": ParseError {")[0]


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
