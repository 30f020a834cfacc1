"""Accounts: creation with and without external binding, update, key change, the list of orders
(RFC 8555 §7.3)."""

from __future__ import annotations

from typing import Any

from tests.lab.scripted_ca import jws
from tests.lab.scripted_ca.problems import Problem
from tests.lab.scripted_ca.state import Account, Signed, State, existing, own
from tests.lab.scripted_ca.wire import Reply, json_reply


def new_account(state: State, signed: Signed) -> Reply:
    if signed.account:
        raise Problem("malformed", detail="jwk is required here, not kid")
    account = state.account_with(signed.key)
    if state.settings.eab_first and signed.fields.get("externalAccountBinding") is None:
        raise Problem("externalAccountRequired", 403, "an account of ours is wanted")
    if account:
        if account.status != "valid":
            raise Problem("unauthorized", 401, f"the account is {account.status}")
        return _view(state, account)
    if signed.fields.get("onlyReturnExisting"):
        raise Problem("accountDoesNotExist", detail="no account has that key")
    terms = state.settings.terms_of_service
    if terms and signed.fields.get("termsOfServiceAgreed") is not True:
        raise Problem("userActionRequired", 403, f"agree to {terms} first")
    contact = _contact(signed)
    eab_kid = _external_account(state, signed)
    account = Account(state.new_url("account"), signed.key, contact, "valid", terms, eab_kid)
    state.accounts[account.url] = account
    return _view(state, account, status=201)


def account(state: State, signed: Signed) -> Reply:
    account = _own_account(state, signed, "account")
    if signed.content is not None:
        if signed.fields.get("status") == "deactivated":
            account.status = "deactivated"
        if signed.fields.get("termsOfServiceAgreed"):
            account.agreed_terms = state.settings.terms_of_service
        if "contact" in signed.fields:
            account.contact = _contact(signed)
    return _view(state, account)


def orders_list(state: State, signed: Signed) -> Reply:
    account = _own_account(state, signed, "account")
    return json_reply(200, {"orders": account.orders})


def key_change(state: State, signed: Signed) -> Reply:
    """RFC 8555 §7.3.5: the inner JWS is signed by the new key, the outer one by the old key."""
    account = signed.signer
    inner = jws.read(signed.content)
    new_key = jws.key_from(inner.protected.get("jwk"))
    jws.verify(inner, new_key, state.settings.signature_algorithms)
    if inner.protected.get("url") != signed.url or "nonce" in inner.protected:
        raise Problem("malformed", detail="the inner JWS must have this URL and no nonce")
    wanted = {"account": account.url, "oldKey": account.key.public_key().to_json()}
    if inner.content != wanted:
        raise Problem("malformed", detail="the inner JWS names another account or old key")
    holder = state.account_with(new_key)
    if holder:
        location = ("Location", holder.url)
        raise Problem("malformed", 409, "an account has that key already", headers=(location,))
    if state.settings.key_change_has_effect:
        account.key = new_key
    return _view(state, account)


def _own_account(state: State, signed: Signed, resource: str) -> Account:
    account = existing(state.accounts, state.url(resource, signed.id))
    return own(account, account.url, signed)


def _contact(signed: Signed) -> list[str]:
    contact = signed.fields.get("contact", [])
    if not isinstance(contact, list):
        raise Problem("malformed", detail="contact is not a list")
    for one in contact:
        if not str(one).startswith("mailto:"):
            raise Problem("unsupportedContact", detail=f"{one} is not a mailto URL")
        if "@" not in one or "," in one or "?" in one:
            raise Problem("invalidContact", detail=f"{one} is not a single address")
    return contact


def _external_account(state: State, signed: Signed) -> str | None:
    settings = state.settings
    binding = signed.fields.get("externalAccountBinding")
    if binding is None:
        if settings.eab_required:
            raise Problem("externalAccountRequired", 403, "an external account binding is required")
        return None
    jws.verify_binding(binding, settings.eab_keys, signed.url, signed.jwk)
    return str(jws.read(binding).protected["kid"])


def _view(state: State, account: Account, status: int = 200) -> Reply:
    number = account.url.rpartition("/")[2]
    body: dict[str, Any] = {
        "status": account.status,
        "contact": account.contact,
        "termsOfServiceAgreed": account.agreed_terms is not None,
        "orders": state.url("orders-list", number),
    }
    return json_reply(status, body, ("Location", account.url))
