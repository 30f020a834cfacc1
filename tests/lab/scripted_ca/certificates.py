"""Issued certificates: download, alternate chains, revocation (RFC 8555 §7.4.2, §7.6), and renewal
information (RFC 9773)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from tests.lab.scripted_ca import jws
from tests.lab.scripted_ca.issuer import Issued, pem, spki
from tests.lab.scripted_ca.problems import Problem
from tests.lab.scripted_ca.state import Revocation, Signed, State, existing, own, timestamp
from tests.lab.scripted_ca.wire import Reply, json_reply


def certificate(state: State, signed: Signed) -> Reply:
    issued = _own_certificate(state, signed, signed.id)
    links = tuple(
        ("Link", f'<{state.url("alternate", f"{signed.id}/{number}")}>;rel="alternate"')
        for number in range(1, state.settings.alternates + 1)
    )
    return _chain_reply(state.settings.chain(issued), *links)


def alternate(state: State, signed: Signed) -> Reply:
    certificate_id, _, number = signed.id.partition("/")
    issued = _own_certificate(state, signed, certificate_id)
    if not number.isdigit() or not 1 <= int(number) <= state.settings.alternates:
        raise Problem("malformed", 404, "there is no such chain")
    return _chain_reply(pem(issued.certificate, state.issuer.alternate(int(number))))


def revoke_cert(state: State, signed: Signed) -> Reply:
    der = jws.unb64(signed.fields.get("certificate", ""))
    issued = next(
        (one for one in state.issued.values() if one.certificate.public_bytes(Encoding.DER) == der),
        None,
    )
    if issued is None:
        raise Problem("malformed", 404, "this CA did not issue that certificate")
    if not _may_revoke(state, signed, issued):
        raise Problem(
            "unauthorized", 403, "signed neither by the certificate's key nor by its account's"
        )
    reason = signed.fields.get("reason", 0)
    if reason not in state.settings.revocation_reasons:
        raise Problem("badRevocationReason", detail=f"reason {reason} is not accepted")
    if state.is_revoked(issued):
        raise Problem("alreadyRevoked", detail="it was already revoked")
    state.revoked.append(Revocation(issued, reason))
    return Reply(200)


def renewal_info(state: State, certificate_id: str) -> Reply:
    issued = next(
        (one for one in state.issued.values() if one.certificate_id == certificate_id), None
    )
    if issued is None or not state.settings.renewal_info:
        raise Problem("malformed", 404, "there is no such certificate")
    start, end = _window(state, issued)
    body: dict[str, Any] = {"suggestedWindow": {"start": timestamp(start), "end": timestamp(end)}}
    if state.settings.renewal_explanation:
        body["explanationURL"] = state.settings.renewal_explanation
    reply = json_reply(200, body)
    if state.settings.renewal_retry_after is not None:
        return reply.with_header("Retry-After", str(state.settings.renewal_retry_after))
    return reply


def _own_certificate(state: State, signed: Signed, certificate_id: str) -> Issued:
    issued = existing(state.issued, state.url("certificate", certificate_id))
    return own(issued, issued.account_url, signed)


def _chain_reply(chain: bytes, *links: tuple[str, str]) -> Reply:
    return Reply(200, chain, (("Content-Type", "application/pem-certificate-chain"), *links))


def _may_revoke(state: State, signed: Signed, issued: Issued) -> bool:
    if signed.account is None:
        return spki(signed.key.key) == spki(issued.certificate.public_key())
    if signed.account.url == issued.account_url:
        return True
    held = {
        f"{one.identifier['type']}:{one.name}"
        for one in state.authorizations.values()
        if one.account_url == signed.account.url and one.status == "valid"
    }
    return set(issued.names) <= held


def _window(state: State, issued: Issued) -> tuple[datetime, datetime]:
    now = datetime.now(UTC)
    if state.is_revoked(issued):
        return now - timedelta(hours=2), now - timedelta(hours=1)
    if state.settings.renewal_window:
        return state.settings.renewal_window
    begins = issued.certificate.not_valid_before_utc
    lifetime = issued.certificate.not_valid_after_utc - begins
    start = begins + lifetime * 2 / 3
    return start, start + lifetime / 50
