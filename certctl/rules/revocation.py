"""Whether a certificate is revoked, by what its issuer has signed: a list of revoked certificates
(CRL, RFC 5280 §5) or an answer about this one (OCSP, RFC 6960).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from certctl.model.errors import InspectionFailed
from certctl.model.lazy_dataclass import dataclass
from certctl.rules.chain import extension

_CLOCKS = timedelta(minutes=5)
"""By how much the clocks of this machine and of the issuer may differ."""

_MOST_SOURCES = 4
_MALFORMED = (ValueError, TypeError, AttributeError, UnsupportedAlgorithm, InvalidSignature)


@dataclass(frozen=True)
class Sources:
    """Where a certificate says that its revocation can be asked for."""

    lists: tuple[str, ...] = ()
    responders: tuple[str, ...] = ()


@dataclass(frozen=True)
class RevocationState:
    """What the issuer says: when it revoked the certificate and why, if it did; and as of when."""

    as_of: datetime
    revoked_at: datetime | None = None
    reason: str | None = None


def sources(cert: bytes) -> Sources:
    """Return where to ask, by HTTP. Raises `InspectionFailed`."""
    with _reading("the certificate"):
        certificate = x509.load_pem_x509_certificate(cert)
        points = extension(certificate, x509.CRLDistributionPoints)
        access = extension(certificate, x509.AuthorityInformationAccess)
        lists = [
            name.value
            for point in points or ()
            if point.crl_issuer is None and point.reasons is None
            for name in point.full_name or ()
            if isinstance(name, x509.UniformResourceIdentifier)
        ]
        responders = [
            each.access_location.value
            for each in access or ()
            if each.access_method == AuthorityInformationAccessOID.OCSP
            and isinstance(each.access_location, x509.UniformResourceIdentifier)
        ]
    return Sources(*(_by_http(each) for each in (lists, responders)))


def _by_http(urls: list[str]) -> tuple[str, ...]:
    found = [each for each in urls if each.lower().startswith(("http://", "https://"))]
    return tuple(dict.fromkeys(found))[:_MOST_SOURCES]


def of_list(data: bytes, url: str, cert: bytes, issuer: bytes, now: datetime) -> RevocationState:
    """Return what a list from `url` says of a certificate. Raises `InspectionFailed` if it is not
    signed by the issuer, is out of date, or is not about this certificate.
    """
    with _reading("the list"):
        certificate, signer = (x509.load_pem_x509_certificate(each) for each in (cert, issuer))
        listed = (
            x509.load_pem_x509_crl(data)
            if data.lstrip().startswith(b"-----BEGIN")
            else x509.load_der_x509_crl(data)
        )
        key = signer.public_key()
        if listed.issuer != certificate.issuer or not listed.is_signature_valid(key):  # type: ignore[arg-type]  # keys of other kinds raise TypeError
            raise InspectionFailed("the list is not signed by the issuer")
        _require_current("the list", listed.last_update_utc, listed.next_update_utc, now)
        _require_in_scope(listed, url)
        entry = listed.get_revoked_certificate_by_serial_number(certificate.serial_number)
        if entry is None:
            return RevocationState(listed.last_update_utc)
        reason: str | None = None
        with suppress(x509.ExtensionNotFound):
            reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
        return RevocationState(listed.last_update_utc, entry.revocation_date_utc, reason)


def _require_in_scope(listed: x509.CertificateRevocationList, url: str) -> None:
    """Raise `InspectionFailed` for a list of other certificates, or of changes only."""
    for each in listed.extensions:
        if not isinstance(each.value, x509.IssuingDistributionPoint):
            if each.critical:
                raise InspectionFailed("the list has an extension that is not understood")
            continue
        point = each.value
        names = {getattr(name, "value", None) for name in point.full_name or ()}
        if (
            (names and url not in names)
            or point.only_contains_ca_certs
            or point.only_contains_attribute_certs
            or point.indirect_crl
            or point.only_some_reasons
        ):
            raise InspectionFailed("the list is about other certificates")


def question(cert: bytes, issuer: bytes) -> bytes:
    """Return the OCSP request about a certificate, in DER. Raises `InspectionFailed`."""
    with _reading("the certificate"):
        certificate, signer = (x509.load_pem_x509_certificate(each) for each in (cert, issuer))
        builder = ocsp.OCSPRequestBuilder()
        # SHA-1 only names the issuer here, and is what every responder knows (RFC 5019)
        builder = builder.add_certificate(certificate, signer, hashes.SHA1())  # noqa: S303
        return builder.build().public_bytes(Encoding.DER)


def of_answer(data: bytes, cert: bytes, issuer: bytes, now: datetime) -> RevocationState:
    """Return what an OCSP response says of a certificate. Raises `InspectionFailed` if the
    responder does not know it, or the response is not signed for the issuer or out of date.
    """
    with _reading("the OCSP response"):
        certificate, signer = (x509.load_pem_x509_certificate(each) for each in (cert, issuer))
        answer = ocsp.load_der_ocsp_response(data)
        if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise InspectionFailed(
                f"the OCSP responder says {answer.response_status.name.lower().replace('_', ' ')}"
            )
        asked = ocsp.load_der_ocsp_request(question(cert, issuer))
        same = (answer.serial_number, answer.issuer_key_hash, answer.issuer_name_hash) == (
            asked.serial_number,
            asked.issuer_key_hash,
            asked.issuer_name_hash,
        )
        if not same or answer.serial_number != certificate.serial_number:
            raise InspectionFailed("the OCSP response is about another certificate")
        _require_signed(answer, signer, now)
        _require_current("the OCSP response", answer.this_update_utc, answer.next_update_utc, now)
        if answer.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
            raise InspectionFailed("the OCSP responder does not know the certificate")
        reason = answer.revocation_reason
        return RevocationState(
            answer.this_update_utc,
            answer.revocation_time_utc,
            None if reason is None else reason.value,
        )


def _require_signed(answer: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime) -> None:
    """Raise `InspectionFailed` unless the issuer has signed, or one to whom it has given that."""
    delegates = [each for each in answer.certificates if each != issuer and _may(each, issuer, now)]
    for signer in (issuer, *delegates):
        with suppress(InvalidSignature):
            _verify(signer, answer)
            return
    raise InspectionFailed("the OCSP response is not signed for the issuer")


def _may(certificate: x509.Certificate, issuer: x509.Certificate, now: datetime) -> bool:
    """Return whether the issuer lets the holder of a certificate sign responses."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except _MALFORMED:
        return False
    usage = extension(certificate, x509.ExtendedKeyUsage)
    valid = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
    return valid and usage is not None and ExtendedKeyUsageOID.OCSP_SIGNING in usage


def _verify(signer: x509.Certificate, answer: ocsp.OCSPResponse) -> None:
    key, algorithm = signer.public_key(), answer.signature_hash_algorithm
    signed = answer.signature, answer.tbs_response_bytes
    match key:
        case rsa.RSAPublicKey() if algorithm is not None:
            key.verify(*signed, padding.PKCS1v15(), algorithm)
        case ec.EllipticCurvePublicKey() if algorithm is not None:
            key.verify(*signed, ec.ECDSA(algorithm))
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            key.verify(*signed)
        case _:
            raise InvalidSignature


def _require_current(what: str, since: datetime, until: datetime | None, now: datetime) -> None:
    if since > now + _CLOCKS or (until is not None and until < now - _CLOCKS):
        raise InspectionFailed(f"{what} is out of date")


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Translate the errors of cryptography, which parses lazily."""
    try:
        yield
    except _MALFORMED as error:
        raise InspectionFailed(f"{what} cannot be read") from error
