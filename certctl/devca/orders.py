"""Orders, from newOrder to the certificate (RFC 8555 §7.4)."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from math import ceil, inf
from typing import Any

from cryptography import x509

from certctl.devca import authority, csr, jws, renewal_info
from certctl.devca.accounts import require_terms
from certctl.devca.authority import LeafRequest
from certctl.devca.authorizations import authorize, current_status, failure
from certctl.devca.identifiers import parse
from certctl.devca.problems import Problem, compound
from certctl.devca.records import Authorization, Certificate, Order
from certctl.devca.request_authentication import Call
from certctl.devca.state import State, new_id, timestamp
from certctl.devca.wire import Reply, json_reply

BACKDATED = 3600.0
"""Seconds by which certificates are backdated, for clients with slow clocks; not applied to
lifetimes under a day, of which it would be too large a part.
"""

_MAX_RETRY_AFTER = 3
_DAY = 86400.0


def new_order(state: State, call: Call) -> Reply:
    """RFC 8555 §7.4, with `replaces` (RFC 9773 §5) and `profile`."""
    fields = call.fields()
    require_terms(state, call)
    if fields.get("notBefore") or fields.get("notAfter"):
        raise Problem("malformed", "notBefore and notAfter are not supported")
    name = fields.get("profile")
    profile = state.settings.profile(name) if name is None or isinstance(name, str) else None
    if profile is None:
        raise Problem("invalidProfile", f"there is no profile {name!r:.80}")
    identifiers = parse(fields.get("identifiers"), profile)
    replaces = fields.get("replaces")
    fingerprint = _fingerprint(call.signer.id, identifiers, name, replaces)
    known = state.records.newest(Order, fingerprint)
    if known is not None and _updated(state, known).status in ("pending", "ready"):
        return _reply(state, call, known, 201)
    if replaces is not None:
        renewal_info.check_replaces(state, call, replaces, identifiers)
    found = [authorize(state, call, each) for each in identifiers]
    lifetime = state.settings.pending_lifetime.total_seconds()
    order = Order(
        id=new_id(),
        account=call.signer.id,
        identifiers=identifiers,
        authorizations=[each.id for each in found],
        expires=min(state.now() + lifetime, *(each.expires for each in found)),
        fingerprint=fingerprint,
        profile=name,
        replaces=replaces,
    )
    state.records.put(order)
    return _reply(state, call, _updated(state, order), 201)


def order(state: State, call: Call) -> Reply:
    """RFC 8555 §7.4: the current state of an order."""
    call.read_only()
    return _reply(state, call, _updated(state, _own(state, call), call.request.base))


def finalize(state: State, call: Call) -> Reply:
    """RFC 8555 §7.4: submit the certificate signing request for a ready order."""
    found = _updated(state, _own(state, call), call.request.base)
    fields = call.fields()
    if found.status != "ready":
        raise Problem("orderNotReady", f"the order is {found.status}")
    request = csr.check(fields.get("csr"), found.identifiers, call.key)
    found.csr = jws.encode(request)
    seconds = state.settings.processing
    if seconds > 0:
        found.status = "processing"
        found.processing_until = None if seconds == inf else state.now() + seconds
        state.records.put(found)
    else:
        _issue(state, found, call.request.base)
    return _reply(state, call, found)


def _fingerprint(
    account: str, identifiers: list[dict[str, str]], profile: object, replaces: object
) -> str:
    names = sorted(f"{each['type']}:{each['value']}" for each in identifiers)
    text = json.dumps([account, names, profile, replaces])
    return hashlib.sha256(text.encode()).hexdigest()


def _own(state: State, call: Call) -> Order:
    found = state.records.get(Order, call.arguments[0]) if len(call.arguments) == 1 else None
    if found is None:
        raise Problem("malformed", "there is no such order", status=404)
    if found.account != call.signer.id:
        raise Problem("unauthorized", "this order belongs to another account")
    return found


def _updated(state: State, found: Order, base: str = "") -> Order:
    """Update an order's status from its authorizations and the current time."""
    before = found.status
    if found.status == "pending":
        _apply_authorizations(state, found)
    if found.status in ("pending", "ready") and state.now() >= found.expires:
        found.status = "invalid"
        found.error = Problem("malformed", "the order has expired").document()
    if found.status == "processing" and found.processing_until is not None:
        if state.now() >= found.processing_until and base:
            _issue(state, found, base)
    elif found.status != before:
        state.records.put(found)
    return found


def _apply_authorizations(state: State, found: Order) -> None:
    failed: list[tuple[dict[str, str], Problem]] = []
    statuses: set[str] = set()
    for identifier in found.authorizations:
        each = state.records.get(Authorization, identifier)
        if each is None:
            continue
        status = current_status(state, each)
        statuses.add(status)
        if status not in ("pending", "valid"):
            why = failure(each) or {"detail": f"the authorization is {status}"}
            kind = str(why.get("type", "unauthorized")).rpartition(":")[2]
            problem = Problem(kind, str(why["detail"]), status=why.get("status"))
            failed.append((each.identifier, problem))
    if failed:
        found.status = "invalid"
        found.error = compound(failed, "some identifiers could not be validated").document()
    elif statuses == {"valid"}:
        found.status = "ready"


def _issue(state: State, found: Order, base: str) -> None:
    request = x509.load_der_x509_csr(jws.decode(found.csr, "the csr"))
    profile = state.settings.profile(found.profile)
    if profile is None:  # it was removed in the meantime
        found.status = "invalid"
        found.error = Problem("invalidProfile", f"there is no profile {found.profile}").document()
        state.records.put(found)
        return
    lifetime = state.settings.lifetime or profile.lifetime
    backdated = BACKDATED if lifetime.total_seconds() >= _DAY else 0
    begins = int(state.now() - backdated)
    names = [each["value"] for each in found.identifiers if each["type"] == "dns"]
    issuer, leaf = state.authority.leaf(
        LeafRequest(
            public_key=request.public_key(),
            identifiers=[(each["type"], each["value"]) for each in found.identifiers],
            not_before=datetime.fromtimestamp(begins, UTC),
            lifetime=lifetime,
            common_name=next((name for name in names if len(name) <= 64), None)
            if profile.common_name
            else None,
            base=base,
        )
    )
    certificate = Certificate(
        id=f"{leaf.serial_number:x}",
        account=found.account,
        order=found.id,
        ari=authority.cert_id(leaf),
        pem=authority.pem(leaf).decode(),
        issuer=issuer,
        identifiers=found.identifiers,
        not_before=leaf.not_valid_before_utc.timestamp(),
        not_after=leaf.not_valid_after_utc.timestamp(),
    )
    found.status, found.certificate = "valid", certificate.id
    state.records.put(certificate)
    state.records.put(found)
    if found.replaces is not None:
        renewal_info.mark_replaced(state, found)


def _reply(state: State, call: Call, found: Order, status: int = 200) -> Reply:
    view: dict[str, Any] = {
        "status": found.status,
        "expires": timestamp(found.expires),
        "identifiers": found.identifiers,
        "authorizations": [call.url("authorization", each) for each in found.authorizations],
        "finalize": call.url("finalize", found.id),
    }
    if found.profile is not None:
        view["profile"] = found.profile
    if found.replaces is not None:
        view["replaces"] = found.replaces
    if found.error is not None:
        view["error"] = found.error
    if found.certificate is not None:
        view["certificate"] = call.url("certificate", found.certificate)
    headers = [("Location", call.url("order", found.id))]
    if found.status == "processing":
        headers.append(("Retry-After", str(_wait(state, found))))
    return json_reply(status, view, *headers)


def _wait(state: State, found: Order) -> int:
    if found.processing_until is None:
        return _MAX_RETRY_AFTER
    left = found.processing_until - state.now()
    return max(1, min(_MAX_RETRY_AFTER, ceil(left)))
