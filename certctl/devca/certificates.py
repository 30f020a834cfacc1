"""Issued certificates: download, alternate chains, revocation, CRLs (RFC 8555 §7.4.2 and §7.6, RFC
5280 §5).
"""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl.devca import jws
from certctl.devca.authority import REASONS
from certctl.devca.authorizations import current_status
from certctl.devca.problems import Problem
from certctl.devca.records import Authorization, Certificate, authorization_key
from certctl.devca.request_authentication import Call
from certctl.devca.state import State
from certctl.devca.wire import Reply, Request, link

CHAINS = 2
_ISSUERS = ("ec", "rsa")


def certificate(state: State, call: Call) -> Reply:
    """RFC 8555 §7.4.2: the chain to the EC root, or an alternate chain by its number."""
    call.read_only()
    identifier, *rest = call.arguments or ("",)
    if rest not in ([], *([str(number)] for number in range(1, CHAINS))):
        raise Problem("malformed", "there is no such chain", status=404)
    found = state.records.get(Certificate, identifier)
    if found is None:
        raise Problem("malformed", "there is no such certificate", status=404)
    if found.account != call.signer.id:
        raise Problem("unauthorized", "this certificate belongs to another account")
    chain = int(rest[0]) if rest else 0
    issuer = found.issuer
    if state.settings.faults.wrong_chain:
        issuer = _ISSUERS[1 - _ISSUERS.index(issuer)]
    body = found.pem.encode() + state.authority.intermediate(issuer, chain)
    others = [number for number in range(CHAINS) if number != chain]
    links = [
        link(call.url("certificate", found.id, *([number] if number else [])), "alternate")
        for number in others
    ]
    media = ("Content-Type", "application/pem-certificate-chain")
    return Reply(200, body, (media, *links))


def revoke(state: State, call: Call) -> Reply:
    """RFC 8555 §7.6: signed by the account that ordered it, by an account with authorizations for
    all its names, or by the certificate's key.
    """
    fields = call.fields()
    der = jws.decode(fields.get("certificate"), "the certificate")
    try:
        given = x509.load_der_x509_certificate(der)
        serial = f"{given.serial_number:x}"
        public_numbers = getattr(given.public_key(), "public_numbers", None)
    except Exception as error:  # noqa: BLE001 - the library raises any exception for a malicious one
        raise Problem("malformed", f"not a certificate: {type(error).__name__}") from None
    found = state.records.get(Certificate, serial)
    if found is None or _der(found) != der:
        raise Problem("malformed", "this CA did not issue that certificate", status=404)
    if not _may_revoke(state, call, found, public_numbers() if public_numbers else None):
        raise Problem("unauthorized", "this key may not revoke that certificate")
    reason = fields.get("reason", 0)
    if type(reason) is not int or reason not in state.settings.revocation_reasons:
        allowed = ", ".join(map(str, sorted(state.settings.revocation_reasons)))
        raise Problem("badRevocationReason", f"the allowed reasons are {allowed}")
    if found.revoked is not None:
        raise Problem("alreadyRevoked", "the certificate is revoked already")
    mark_revoked(state, found, reason)
    return Reply(200)


def mark_revoked(state: State, found: Certificate, reason: int) -> None:
    """Revoke a certificate; raises `Problem` for an undefined reason."""
    if type(reason) is not int or reason not in REASONS:
        raise Problem("badRevocationReason", "RFC 5280 §5.3.1 has no such reason")
    found.revoked, found.reason = state.now(), reason
    state.records.put(found)


def revocation_list(state: State, request: Request) -> Reply:
    """The current CRL of an intermediate."""
    issuer = _issuer(request)
    revoked = [
        (int(each.id, 16), datetime.fromtimestamp(int(each.revoked), UTC), each.reason)
        for each in state.records.all(Certificate)
        if each.issuer == issuer and each.revoked is not None
    ]
    der = state.authority.revocation_list(issuer, revoked, state.clock.now())
    return Reply(200, der, (("Content-Type", "application/pkix-crl"),))


def issuer_certificate(state: State, request: Request) -> Reply:
    """An intermediate, at the URL in its leaves' authority information access extension."""
    pem = state.authority.intermediate(_issuer(request), 0)
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    return Reply(200, der, (("Content-Type", "application/pkix-cert"),))


def _issuer(request: Request) -> str:
    if len(request.segments) != 2 or request.segments[1] not in _ISSUERS:
        raise Problem("malformed", "there is no such issuer", status=404)
    return request.segments[1]


def _der(found: Certificate) -> bytes:
    return x509.load_pem_x509_certificate(found.pem.encode()).public_bytes(Encoding.DER)


def _may_revoke(state: State, call: Call, found: Certificate, numbers: object) -> bool:
    if call.account is None:
        return numbers is not None and jws.numbers_of(numbers) == call.key.numbers
    if call.account.id == found.account:
        return True
    return all(
        _is_authorized(state, call.account.id, each["type"], each["value"])
        for each in found.identifiers
    )


def _is_authorized(state: State, account: str, kind: str, value: str) -> bool:
    identifier = {"type": kind, "value": value.removeprefix("*.")}
    key = authorization_key(account, identifier, wildcard=value.startswith("*."))
    held = state.records.newest(Authorization, key)
    return held is not None and current_status(state, held) == "valid"
