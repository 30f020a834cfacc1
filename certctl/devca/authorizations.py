"""Authorizations and challenges (RFC 8555 §7.5, §8): views, answers, outcomes.

`validation` checks the client's response to a challenge; `record_validation` stores the result.
"""

from __future__ import annotations

import secrets
from typing import Any

from certctl.devca import persistent_validation
from certctl.devca.problems import Problem
from certctl.devca.records import Authorization, authorization_key
from certctl.devca.request_authentication import Call
from certctl.devca.state import State, new_id, timestamp
from certctl.devca.wire import Reply, json_reply, link

_FOR_WILDCARDS = frozenset({"dns-01", "dns-account-01", "dns-persist-01"})
"""RFC 8555 §7.1.3 leaves this to the CA; all CAs require DNS."""

_FOR_ADDRESSES = frozenset({"http-01", "tls-alpn-01"})
"""RFC 8738 §4 and §7."""


def authorize(state: State, call: Call, identifier: dict[str, str]) -> Authorization:
    """Return an authorization for an identifier: a valid one that may be reused, or a new one (RFC
    8555 §7.1.4).
    """
    account = call.signer.id
    wildcard = identifier["value"].startswith("*.")
    base = {"type": identifier["type"], "value": identifier["value"].removeprefix("*.")}
    if state.settings.reuse_authorizations:
        known = state.records.newest(
            Authorization, authorization_key(account, base, wildcard=wildcard)
        )
        if known is not None and current_status(state, known) == "valid":
            return known
    types = state.settings.challenge_types
    if wildcard:
        types &= _FOR_WILDCARDS
    elif base["type"] == "ip":
        types &= _FOR_ADDRESSES
    if not types:
        detail = f"no challenge type is available for {identifier['value']}"
        raise Problem("rejectedIdentifier", detail)
    token = secrets.token_urlsafe(32)
    new = Authorization(
        id=new_id(),
        account=account,
        identifier=base,
        expires=state.now() + state.settings.pending_lifetime.total_seconds(),
        challenges=[_new_challenge(state, each, token) for each in sorted(types)],
        wildcard=wildcard,
        account_url=call.url("account", account),
    )
    state.records.put(new)
    return new


def _new_challenge(state: State, kind: str, token: str) -> dict[str, Any]:
    new = {"type": kind, "status": "pending"}
    if kind != "dns-persist-01":
        return new | {"token": token}
    # The record is persistent, so there is no token. The name of the member shows the client which
    # form of the draft is used.
    form = state.settings.dns_persist_form
    key = "issuer-domain-names" if form == "01" else "issuerDomainNames"
    return {**new, key: [persistent_validation.ISSUER], "form": form}


def current_status(state: State, found: Authorization) -> str:
    """Return the current status: a pending or valid authorization may have expired."""
    if found.status in ("pending", "valid") and state.now() >= found.expires:
        return "expired"
    return found.status


def authorization(state: State, call: Call) -> Reply:
    """RFC 8555 §7.5, and deactivation, §7.5.2."""
    found = _own(state, call, 1)
    if call.content is not None and call.content != {}:
        if call.content.get("status") != "deactivated":
            raise Problem("malformed", "the status can only be changed to deactivated")
        if current_status(state, found) not in ("pending", "valid"):
            raise Problem("malformed", f"the authorization is {current_status(state, found)}")
        found.status = "deactivated"
        state.records.put(found)
    return json_reply(200, _view(state, call, found))


def challenge(state: State, call: Call) -> Reply:
    """RFC 8555 §7.5.1: an object starts the validation, an empty payload only reads."""
    found = _own(state, call, 2)
    chosen = next((each for each in found.challenges if each["type"] == call.arguments[1]), None)
    if chosen is None:
        raise Problem("malformed", "there is no such challenge", status=404)
    if call.content is not None and chosen["status"] == "pending":
        status = current_status(state, found)
        if status != "pending":
            raise Problem("malformed", f"the authorization is {status}")
        chosen["status"] = "processing"
        state.records.put(found)
        state.validate(found.id, chosen["type"])
    up = link(call.url("authorization", found.id), "up")
    return json_reply(200, _challenge_view(call, found, chosen), up)


def record_validation(state: State, identifier: str, kind: str, problem: Problem | None) -> None:
    """Record the result of validating a challenge; None means success."""
    with state.records.transaction():
        found = state.records.get(Authorization, identifier)
        if found is None:
            return
        chosen = next(each for each in found.challenges if each["type"] == kind)
        if problem is None:
            chosen |= {"status": "valid", "validated": state.now()}
        else:
            chosen |= {"status": "invalid", "error": problem.document()}
        if found.status == "pending":
            if problem is None:
                lifetime = state.settings.authorization_lifetime.total_seconds()
                found.expires = state.now() + lifetime
            found.status = chosen["status"]
        state.records.put(found)


def failure(found: Authorization) -> dict[str, Any] | None:
    """Return the problem document of the challenge that failed."""
    return next((each["error"] for each in found.challenges if "error" in each), None)


def _own(state: State, call: Call, arguments: int) -> Authorization:
    found = None
    if len(call.arguments) == arguments:
        found = state.records.get(Authorization, call.arguments[0])
    if found is None:
        raise Problem("malformed", "there is no such authorization", status=404)
    if found.account != call.signer.id:
        raise Problem("unauthorized", "this authorization belongs to another account")
    return found


def _view(state: State, call: Call, found: Authorization) -> dict[str, Any]:
    tried = [each for each in found.challenges if each["status"] != "pending"]
    # RFC 8555 §7.1.4: once finished, only the challenges that were attempted are shown
    shown = found.challenges if found.status == "pending" or not tried else tried
    view: dict[str, Any] = {
        "identifier": found.identifier,
        "status": current_status(state, found),
        "expires": timestamp(found.expires),
        "challenges": [_challenge_view(call, found, each) for each in shown],
    }
    if found.wildcard:
        view["wildcard"] = True
    return view


def _challenge_view(call: Call, found: Authorization, one: dict[str, Any]) -> dict[str, Any]:
    view = {**one, "url": call.url("challenge", found.id, one["type"])}
    view.pop("form", None)
    if "validated" in view:
        view["validated"] = timestamp(view["validated"])
    return view
