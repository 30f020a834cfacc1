"""Accounts (RFC 8555 §7.3): registration, lookup, update, orders, deactivation, key change."""

from __future__ import annotations

import re
from typing import Any

from certctl.devca import jws
from certctl.devca.problems import Problem
from certctl.devca.records import Account, Order
from certctl.devca.request_authentication import Call
from certctl.devca.state import State, new_id, timestamp
from certctl.devca.wire import Reply, json_reply, link

_MAILTO = re.compile(r"mailto:[^@\s,?]+@[^@\s,?]+\.[^@\s,?.]+\Z")
_MAX_CONTACTS = 10
_PAGE = 100


def new_account(state: State, call: Call) -> Reply:
    """RFC 8555 §7.3 and §7.3.1."""
    fields = call.fields()
    only_existing = fields.get("onlyReturnExisting") is True
    known = state.records.newest(Account, call.key.thumbprint)
    if known is not None:
        if known.status != "valid":
            raise Problem("unauthorized", f"the account is {known.status}")
        return json_reply(200, _view(call, known), ("Location", call.url("account", known.id)))
    if only_existing:
        raise Problem("accountDoesNotExist", "there is no account with this key")
    contact = _contact(fields)
    _check_terms(state, call, fields)
    account = Account(
        id=new_id(),
        jwk=call.key.jwk,
        thumbprint=call.key.thumbprint,
        contact=contact,
        created=state.now(),
        terms=state.settings.terms_of_service,
        binding=_binding(state, call, fields),
    )
    state.records.put(account)
    return json_reply(201, _view(call, account), ("Location", call.url("account", account.id)))


def account(state: State, call: Call) -> Reply:
    """RFC 8555 §7.3.2, §7.3.3, §7.3.6; a POST-as-GET reads the account."""
    own = call.signer
    if call.arguments != (own.id,):
        raise Problem("unauthorized", "this account belongs to another key")
    fields = call.content or {}
    if "status" in fields and fields["status"] not in ("deactivated", own.status):
        raise Problem("malformed", "the status can only be changed to deactivated")
    if fields.get("status") == "deactivated":
        own.status = "deactivated"
    if "contact" in fields:
        own.contact = _contact(fields)
    if fields.get("termsOfServiceAgreed") is True:
        own.terms = state.settings.terms_of_service
    if fields:
        state.records.put(own)
    return json_reply(200, _view(call, own))


def orders(state: State, call: Call) -> Reply:
    """RFC 8555 §7.1.2.1: one page of the URLs of the account's orders."""
    call.read_only()
    if call.arguments[:1] != (call.signer.id,) or len(call.arguments) > 2:
        raise Problem("unauthorized", "these orders belong to another account")
    page = call.arguments[1] if len(call.arguments) == 2 else "0"
    if not (page.isascii() and page.isdigit() and len(page) < 10):
        raise Problem("malformed", "there is no such page", status=404)
    start = int(page) * _PAGE
    # RFC 8555 §7.1.2.1: the list should not contain invalid orders
    found = [
        each for each in state.records.of_owner(Order, call.signer.id) if each.status != "invalid"
    ]
    document = {"orders": [call.url("order", each.id) for each in found[start : start + _PAGE]]}
    if len(found) <= start + _PAGE:
        return json_reply(200, document)
    following = call.url("orders", call.signer.id, int(page) + 1)
    return json_reply(200, document, link(following, "next"))


def key_change(state: State, call: Call) -> Reply:
    """RFC 8555 §7.3.5."""
    inner = jws.read(call.fields())
    protected = inner.protected
    if "jwk" not in protected or "kid" in protected or "nonce" in protected:
        raise Problem("malformed", "the inner JWS must have the new key as jwk, and no nonce")
    if protected.get("url") != call.message.protected["url"]:
        raise Problem("malformed", "the inner and outer JWS have different urls")
    key = jws.public_key(protected["jwk"])
    jws.verify(inner, key)
    content = inner.content() or {}
    if content.get("account") != call.message.protected["kid"]:
        raise Problem("malformed", "the inner account is not the signer's")
    if jws.public_key(content.get("oldKey")).thumbprint != call.key.thumbprint:
        raise Problem("malformed", "oldKey is not the account's key")
    holder = state.records.newest(Account, key.thumbprint)
    if holder is not None:
        location = ("Location", call.url("account", holder.id))
        raise Problem("malformed", "another account has that key", status=409, headers=(location,))
    own = call.signer
    own.jwk, own.thumbprint = key.jwk, key.thumbprint
    state.records.put(own)
    return json_reply(200, _view(call, own), ("Location", call.url("account", own.id)))


def require_terms(state: State, call: Call) -> None:
    """Refuse an account that has not agreed to the current terms of service (RFC 8555 §7.3.3)."""
    terms = state.settings.terms_of_service
    if terms is not None and call.signer.terms != terms:
        url = terms_url(terms, call.request.base)
        raise Problem(
            "userActionRequired",
            f"the terms of service have changed: {url}",
            headers=(link(url, "terms-of-service"),),
            instance=url,
        )


def terms_url(terms: str, base: str) -> str:
    """Return the URL of the terms of service."""
    return base + terms if terms.startswith("/") else terms


def _check_terms(state: State, call: Call, fields: dict[str, Any]) -> None:
    terms = state.settings.terms_of_service
    if terms is not None and fields.get("termsOfServiceAgreed") is not True:
        url = terms_url(terms, call.request.base)
        raise Problem(
            "userActionRequired",
            f"agreement to the terms of service is required: {url}",
            headers=(link(url, "terms-of-service"),),
        )


def _contact(fields: dict[str, Any]) -> list[str]:
    contact = fields.get("contact", [])
    if not isinstance(contact, list) or not all(isinstance(each, str) for each in contact):
        raise Problem("malformed", "contact must be a list of URLs")
    if len(contact) > _MAX_CONTACTS:
        raise Problem("invalidContact", f"more than {_MAX_CONTACTS} contacts")
    for each in contact:
        if not each.startswith("mailto:"):
            raise Problem("unsupportedContact", f"only mailto: is supported, not {each!r:.80}")
        if _MAILTO.match(each) is None:
            raise Problem("invalidContact", f"{each!r:.80} is not a single email address")
    return list(contact)


def _binding(state: State, call: Call, fields: dict[str, Any]) -> dict[str, Any] | None:
    """RFC 8555 §7.3.4; a binding is ignored if no EAB keys are configured."""
    keys, binding = state.settings.eab_keys, fields.get("externalAccountBinding")
    if binding is None:
        if keys:
            raise Problem("externalAccountRequired", "an external account binding is required")
        return None
    if not keys:
        return None
    jws.verify_binding(binding, keys, call.request.url, call.key)
    return dict(binding)


def _view(call: Call, own: Account) -> dict[str, Any]:
    view: dict[str, Any] = {
        "status": own.status,
        "contact": own.contact,
        "orders": call.url("orders", own.id),
        "createdAt": timestamp(own.created),
    }
    if own.terms is not None:
        view["termsOfServiceAgreed"] = True
    if own.binding is not None:
        view["externalAccountBinding"] = own.binding
    return view
