"""The CA without faults: routes requests to resources and adds the common response headers.

The first segment of a URL's path is the resource name, here and in the tests.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from tests.lab.scripted_ca import accounts, caa, certificates, jws, orders
from tests.lab.scripted_ca.problems import Problem
from tests.lab.scripted_ca.state import Received, Signed, State, authenticate
from tests.lab.scripted_ca.wire import NO_CONTENT, Reply, Request, json_reply

# resources with signed POST requests
SIGNED: Mapping[str, Callable[[State, Signed], Reply]] = MappingProxyType(
    {
        "new-account": accounts.new_account,
        "account": accounts.account,
        "orders-list": accounts.orders_list,
        "key-change": accounts.key_change,
        "new-order": orders.new_order,
        "order": orders.order,
        "finalize": orders.finalize,
        "authorization": orders.authorization,
        "challenge": orders.challenge,
        "certificate": certificates.certificate,
        "alternate": certificates.alternate,
        "revoke-cert": certificates.revoke_cert,
    }
)
OPEN = ("directory", "new-nonce", "renewal-info")
RESOURCES = frozenset([*SIGNED, *OPEN])


def receive(state: State, request: Request) -> Received:
    """Parses a request and uses up its nonce immediately, so that a nonce is valid only once even
    if a fault prevents a reply."""
    resource, _, identifier = request.path.partition("?")[0].lstrip("/").partition("/")
    message = malformed = None
    if request.method == "POST":
        try:
            message = jws.read(request.body)
        except Problem as problem:
            malformed = problem
    nonce = message.protected.get("nonce") if message else None
    with state.lock:
        nonce_is_good = isinstance(nonce, str) and nonce in state.nonces
        if nonce_is_good:
            state.nonces.remove(str(nonce))
    return Received(request, resource, identifier, message, malformed, nonce_is_good)


def answer(state: State, received: Received) -> Reply:
    """The reply of a CA without faults."""
    with state.lock:
        try:
            reply = _answer(state, received)
        except Problem as problem:
            reply = problem.reply()
        if received.resource != "directory":
            reply = reply.adding_header("Link", f'<{state.url("directory")}>;rel="index"')
        if received.request.method == "POST" or received.resource == "new-nonce":
            reply = reply.with_header("Replay-Nonce", fresh_nonce(state))
        return reply


def fresh_nonce(state: State) -> str:
    nonce = jws.b64(secrets.token_bytes(16))
    with state.lock:
        state.nonces.add(nonce)
    return nonce


def _answer(state: State, received: Received) -> Reply:
    method, resource = received.request.method, received.resource
    if resource not in RESOURCES:
        raise Problem("malformed", 404, f"there is no {received.request.path}")
    if resource in SIGNED:
        if method != "POST":
            raise Problem(
                "malformed", 405, f"{resource} requires POST", headers=(("Allow", "POST"),)
            )
        return SIGNED[resource](state, authenticate(state, received))
    if method not in ("GET", "HEAD"):
        allow = (("Allow", "GET, HEAD"),)
        raise Problem("malformed", 405, f"{resource} is read-only", headers=allow)
    if resource == "renewal-info":
        return certificates.renewal_info(state, received.id)
    if resource == "new-nonce":  # RFC 8555 §7.2
        status = 200 if method == "HEAD" else NO_CONTENT
        return Reply(status, headers=(("Cache-Control", "no-store"),))
    return json_reply(200, _directory(state))


def _directory(state: State) -> dict[str, Any]:
    """RFC 8555 §7.1.1."""
    settings = state.settings
    meta: dict[str, Any] = {
        "website": "https://ca.example/",
        "caaIdentities": [caa.ISSUER],
        "externalAccountRequired": settings.eab_required,
    }
    if settings.terms_of_service:
        meta["termsOfService"] = settings.terms_of_service
    if settings.profiles:
        meta["profiles"] = settings.profiles
    directory: dict[str, Any] = {
        "newNonce": state.url("new-nonce"),
        "newAccount": state.url("new-account"),
        "newOrder": state.url("new-order"),
        "revokeCert": state.url("revoke-cert"),
        "keyChange": state.url("key-change"),
        "meta": meta,
    }
    if settings.renewal_info:
        directory["renewalInfo"] = state.url("renewal-info")
    return directory
