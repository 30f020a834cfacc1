"""Chooses and checks the certificates of a download that a server presents (RFC 5280 §6, RFC 8446).

CAs send chains out of order, with the root, or with several cross-signed certificates. A path from
the leaf is built from what they sent, in their order of preference; certificates outside the path
are left out. Pure, like `certctl.rules.x509`, which decides about key and names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from certctl.model.errors import InspectionFailed
from certctl.model.lazy_dataclass import dataclass
from certctl.model.text import printable

MAX_CERTIFICATES = 20
"""In a download; public chains have at most five."""

MIN_RSA_BITS = 2048
"""Clients reject shorter keys (CA/Browser Forum Baseline Requirements §6.1.5)."""

NOT_ISSUED_BY = (ValueError, TypeError, InvalidSignature)
"""What cryptography raises if one certificate was not issued by another."""

_PROCESSED = frozenset(
    {
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.FRESHEST_CRL,
        ExtensionOID.INHIBIT_ANY_POLICY,
        ExtensionOID.ISSUER_ALTERNATIVE_NAME,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.POLICY_CONSTRAINTS,
        ExtensionOID.POLICY_MAPPINGS,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.TLS_FEATURE,
    }
)
"""Extensions that TLS clients know; a critical one that is not here makes them reject (§4.2)."""


Extended = x509.Certificate | x509.CertificateSigningRequest
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


@dataclass(frozen=True)
class Path:
    """The certificates to present, leaf first, without a root that clients have themselves."""

    certificates: tuple[x509.Certificate, ...]
    unrelated: tuple[x509.Certificate, ...] = ()
    warnings: tuple[str, ...] = ()


def build_path(leaf: x509.Certificate, others: Sequence[x509.Certificate]) -> Path:
    """Return the path that begins with `leaf` and ends at the last issuer that is in `others`.

    If several certificates could have issued the same one (cross-signing), the first in the CA's
    order that leads to the longest path is used. A root at the end is left out if there is an
    intermediate below it. The path is the leaf alone if its issuer is not among `others`.
    """
    warnings: list[str] = []
    path = _longest((leaf,), [each for each in others if each != leaf], warnings)
    unrelated = tuple(each for each in others if not _belongs(each, path))
    if len(path) > 2 and path[-1].issuer == path[-1].subject:
        path = path[:-1]
    return Path(path, unrelated, tuple(dict.fromkeys(warnings)))


def check_leaf(leaf: x509.Certificate) -> None:
    """Raise `InspectionFailed` if TLS clients would reject a server that presents this leaf."""
    constraints = extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise _refused("it is the certificate of a CA, not of a server (CA:TRUE)", "ca")
    if extension(leaf, x509.PrecertPoison) is not None:
        raise _refused("it is a precertificate, which clients must reject", "precertificate")
    purposes = extension(leaf, x509.ExtendedKeyUsage)
    allowed = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if purposes is not None and allowed.isdisjoint(purposes):
        raise _refused("it is not for TLS servers (no serverAuth in extendedKeyUsage)", "purpose")
    _check_critical(leaf)


def check_issuers(issuers: Sequence[x509.Certificate]) -> None:
    """Raise `InspectionFailed` if one of the issuers, lowest first, may not issue certificates."""
    for issuer in issuers:
        constraints = extension(issuer, x509.BasicConstraints)
        if constraints is not None and not constraints.ca:
            raise _refused(
                f"its issuer {_subject(issuer)} is not the certificate of a CA (CA:FALSE)", "chain"
            )
        _check_critical(issuer)


def weaknesses(path: Sequence[x509.Certificate]) -> Iterator[str]:
    """Yield a warning for each property of a path that some clients reject."""
    for number, certificate in enumerate(path):
        what = "the certificate" if number == 0 else f"the issuer {_subject(certificate)}"
        key = certificate.public_key()
        if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
            yield f"{what} has an RSA key of {key.key_size} bits, which clients reject"
        if isinstance(_signature_hash(certificate), hashes.SHA1 | hashes.MD5):
            yield f"{what} is signed with {_signature_name(certificate)}, which clients reject"
        usage = extension(certificate, x509.KeyUsage) if number else None
        if usage is not None and not usage.key_cert_sign:
            yield f"{what} is not meant to sign certificates (keyUsage without keyCertSign)"
        constraints = extension(certificate, x509.BasicConstraints) if number else None
        below = constraints.path_length if constraints is not None else None
        if below is not None and below < number - 1:
            yield f"{what} allows only {below} issuers below it (pathLenConstraint)"
    known = x509.DNSName | x509.IPAddress
    others = [each for each in _names(path[0]) if not isinstance(each, known)]
    if others:
        shown = ", ".join(printable(str(each.value), 100) for each in others[:3])
        yield f"the certificate is also for names that no TLS client looks for: {shown}"


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool | None:
    """Return whether `issuer` signed `certificate`; None if cryptography cannot verify that."""
    if certificate.issuer != issuer.subject:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except UnsupportedAlgorithm:
        return None
    except NOT_ISSUED_BY:
        return False
    return True


def extension(source: Extended, kind: type[_Extension]) -> _Extension | None:
    """Return an extension's value; None if there is no such extension."""
    try:
        return source.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _longest(
    path: tuple[x509.Certificate, ...], others: Sequence[x509.Certificate], warnings: list[str]
) -> tuple[x509.Certificate, ...]:
    last = path[-1]
    best = path
    for candidate in others if last.issuer != last.subject else ():
        # The same key under the same name again is a cross-signed twin, not a further issuer.
        if candidate in path or any(_is_twin(candidate, each) for each in path):
            continue
        signed = issued_by(last, candidate)
        if signed is None:
            # An algorithm too new for cryptography must not make the renewal fail.
            warnings.append(f"the signature of {_subject(last)} cannot be checked here")
        if signed is not False:
            found = _longest((*path, candidate), others, warnings)
            best = found if len(found) > len(best) else best
    return best


def _is_twin(one: x509.Certificate, other: x509.Certificate) -> bool:
    return one.subject == other.subject and one.public_key() == other.public_key()


def _belongs(certificate: x509.Certificate, path: Iterable[x509.Certificate]) -> bool:
    """Whether a certificate is in the path, is a cross-signed twin of one there, or its root."""
    path = tuple(path)
    return any(certificate == each or _is_twin(certificate, each) for each in path) or any(
        issued_by(each, certificate) is not False for each in path[1:]
    )


def _check_critical(certificate: x509.Certificate) -> None:
    for each in certificate.extensions:
        if each.critical and each.oid not in _PROCESSED:
            raise _refused(
                f"{_subject(certificate)} has a critical extension that TLS clients do not know"
                f" ({each.oid.dotted_string})",
                "extension",
            )


def _refused(reason: str, kind: str) -> InspectionFailed:
    return InspectionFailed(
        f"the CA issued a certificate that clients would reject: {reason}",
        hint="Report it to the CA, or choose another CA (--ca) or profile (--profile).",
        code=f"certificate.refused.{kind}",
    )


def _names(certificate: x509.Certificate) -> Iterable[x509.GeneralName]:
    return extension(certificate, x509.SubjectAlternativeName) or ()


def _signature_hash(certificate: x509.Certificate) -> hashes.HashAlgorithm | None:
    try:
        return certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None


def _signature_name(certificate: x509.Certificate) -> str:
    algorithm = _signature_hash(certificate)
    return algorithm.name.upper() if algorithm else "an unknown algorithm"


def _subject(certificate: x509.Certificate) -> str:
    return (
        repr(printable(certificate.subject.rfc4514_string(), 100)) if certificate.subject else "it"
    )
