"""Orders and authorizations, from newOrder to finalize (RFC 8555 §7.4, §7.5, §8)."""

from __future__ import annotations

import secrets
import threading
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from cryptography import x509

from tests.lab.scripted_ca import caa, jws, validation
from tests.lab.scripted_ca.issuer import Issued, names_of, spki
from tests.lab.scripted_ca.problems import Problem, document
from tests.lab.scripted_ca.state import (
    Authorization,
    Challenge,
    Order,
    Signed,
    State,
    existing,
    in_days,
    own,
)
from tests.lab.scripted_ca.wire import Reply, json_reply

UNFINISHED = ("pending", "processing")
FAILED = {"invalid", "expired", "revoked", "deactivated"}


def new_order(state: State, signed: Signed) -> Reply:
    identifiers = _identifiers(signed)
    profile, replaces = signed.fields.get("profile"), signed.fields.get("replaces")
    if profile is not None and profile not in state.settings.profiles:
        raise Problem("invalidProfile", detail=f"there is no profile {profile}")
    order = _reusable(state, signed, identifiers)
    if order is None:
        if replaces is not None and state.settings.renewal_info:
            _check_replaces(state, signed, replaces)
        order = Order(
            url=state.new_url("order"),
            finalize_url="",
            account_url=signed.signer.url,
            identifiers=identifiers,
            authorizations=[_new_authorization(state, signed, one) for one in identifiers],
            expires=in_days(7),
            profile=profile,
            replaces=replaces if state.settings.renewal_info else None,
        )
        order.finalize_url = order.url.replace("/order/", "/finalize/")
        state.orders[order.url] = order
        signed.signer.orders.append(order.url)
    _update_status(state, order)
    return _order_view(state, order, status=201)


def order(state: State, signed: Signed) -> Reply:
    order = _own_order(state, signed)
    for authorization in order.authorizations:
        _poll(state, authorization)
    _update_status(state, order)
    if order.status == "processing":
        if order.polls_left == 0:
            _complete(state, order)
        else:
            order.polls_left -= 1
    return _order_view(state, order)


def finalize(state: State, signed: Signed) -> Reply:
    order = _own_order(state, signed)
    _update_status(state, order)
    if order.status != "ready":
        raise Problem("orderNotReady", 403, f"the order is {order.status}")
    order.csr_der = jws.unb64(signed.fields.get("csr", ""))
    _check_csr(order, signed)
    order.status, order.polls_left = "processing", state.settings.finalize_polls
    if order.polls_left == 0:
        _complete(state, order)
    return _order_view(state, order)


def authorization(state: State, signed: Signed) -> Reply:
    found = existing(state.authorizations, state.url("authorization", signed.id))
    authorization = own(found, found.account_url, signed)
    if signed.content is None:
        _poll(state, authorization)
    elif signed.fields.get("status") == "deactivated":
        if authorization.status not in ("pending", "valid"):
            raise Problem("malformed", detail=f"the authorization is {authorization.status}")
        authorization.status = "deactivated"
        state.deactivated.append(authorization.name)
    else:
        raise Problem("malformed", detail="only deactivation is possible")
    challenges = [challenge.json() for challenge in authorization.challenges]
    challenges += state.settings.extra_challenges
    if state.settings.shuffled:
        challenges.reverse()
    body: dict[str, Any] = {
        "identifier": authorization.identifier,
        "status": authorization.status,
        "expires": authorization.expires,
        "challenges": challenges,
    }
    if authorization.wildcard:
        body["wildcard"] = True
    return _with_retry_after(state, authorization.status, json_reply(200, body))


def challenge(state: State, signed: Signed) -> Reply:
    challenge = existing(state.challenges, state.url("challenge", signed.id))
    authorization = state.authorizations[challenge.authorization_url]
    own(challenge, authorization.account_url, signed)
    if signed.content is None:
        _poll(state, authorization)
    else:
        if signed.fields:
            raise Problem("malformed", detail="the payload of a challenge response must be {}")
        _answer(state, authorization, challenge, signed)
    up = ("Link", f'<{authorization.url}>;rel="up"')
    return _with_retry_after(state, challenge.status, json_reply(200, challenge.json(), up))


# -- newOrder


def _identifiers(signed: Signed) -> list[dict[str, str]]:
    wanted = signed.fields.get("identifiers")
    if not isinstance(wanted, list) or not wanted:
        raise Problem("malformed", detail="an order must have identifiers")
    identifiers = []
    for one in wanted:
        if not isinstance(one, dict) or set(one) != {"type", "value"}:
            raise Problem("malformed", detail=f"{one} is not an identifier")
        if one["type"] not in ("dns", "ip"):
            raise Problem("unsupportedIdentifier", detail=f"type {one['type']}")
        _check_value(one["type"], one["value"])
        if one not in identifiers:
            identifiers.append(one)
    return identifiers


def _check_value(kind: str, value: str) -> None:
    if kind == "ip":
        try:
            canonical = str(ip_address(value)) == value  # RFC 8738 §3
        except ValueError:
            canonical = False
        if not canonical:
            raise Problem("malformed", detail=f"{value} is not an address in the form of RFC 8738")
    elif value != value.lower() or not value.isascii() or "*" in value.removeprefix("*."):
        raise Problem("malformed", detail=f"{value} is not a name in the form of RFC 8555")


def _check_replaces(state: State, signed: Signed, replaces: str) -> None:
    """RFC 9773 §5."""
    issued = next((one for one in state.issued.values() if one.certificate_id == replaces), None)
    if issued is None or issued.account_url != signed.signer.url:
        raise Problem("malformed", detail=f"no certificate {replaces} of this account")
    if any(one.replaces == replaces and one.status != "invalid" for one in state.orders.values()):
        raise Problem("alreadyReplaced", 409, f"{replaces} was already replaced")


def _reusable(state: State, signed: Signed, identifiers: list[dict[str, str]]) -> Order | None:
    if not state.settings.reuse_pending_orders:
        return None
    wanted = {(one["type"], one["value"]) for one in identifiers}
    for url in signed.signer.orders:
        order = state.orders[url]
        if order.status in ("pending", "ready") and wanted == {
            (one["type"], one["value"]) for one in order.identifiers
        }:
            return order
    return None


def _new_authorization(state: State, signed: Signed, identifier: dict[str, str]) -> Authorization:
    settings, name = state.settings, identifier["value"]
    wildcard = name.startswith("*.")
    is_valid = settings.authorizations_start == "valid" or name in settings.already_valid
    authorization = Authorization(
        url=state.new_url("authorization"),
        account_url=signed.signer.url,
        identifier={"type": identifier["type"], "value": name.removeprefix("*.")},
        wildcard=wildcard,
        status="valid" if is_valid else "pending",
        expires=in_days(7),
    )
    token = jws.b64(secrets.token_bytes(settings.token_bytes))
    for kind in _challenge_types(identifier["type"], wildcard=wildcard):
        url = state.new_url("challenge")
        status = authorization.status
        challenge = Challenge(url, kind, token, authorization.url, status)
        authorization.challenges.append(challenge)
        state.challenges[url] = challenge
    state.authorizations[authorization.url] = authorization
    return authorization


def _challenge_types(identifier_type: str, *, wildcard: bool) -> tuple[str, ...]:
    if wildcard:
        return ("dns-01",)
    if identifier_type == "ip":
        return ("http-01", "tls-alpn-01")  # RFC 8738 §7
    return ("http-01", "dns-01", "tls-alpn-01")


# -- validation


def _answer(
    state: State, authorization: Authorization, challenge: Challenge, signed: Signed
) -> None:
    if authorization.status != "pending" or authorization.answered:
        raise Problem(
            "malformed", detail=f"a challenge for {authorization.name} was already answered"
        )
    authorization.answered, challenge.status = challenge, "processing"
    settings = state.settings
    if settings.validate_http01 and challenge.type == "http-01":
        # finished by the thread, not by polls
        authorization.polls_left = -1
        expected = signed.signer.key_authorization(challenge.token)
        thread = threading.Thread(
            target=_fetch_and_finish, args=(state, authorization, challenge, expected)
        )
        state.validations.append(thread)
        thread.start()
        return
    authorization.polls_left = settings.validated_after
    if authorization.polls_left == 0:
        _finish_validation(state, authorization, challenge, _caa(state, authorization, challenge))
        if settings.failing.get(authorization.name, ("", None))[0] == "refused":
            error = challenge.error or {}
            raise Problem(error["type"], 400, error.get("detail", ""))


def _fetch_and_finish(
    state: State, authorization: Authorization, challenge: Challenge, expected: str
) -> None:
    host, port = state.settings.validate_http01 or ("", 0)
    error = validation.http01(host, port, authorization.name, challenge.token, expected)
    error = error or _caa(state, authorization, challenge)
    with state.lock:
        _finish_validation(state, authorization, challenge, error)


def _caa(state: State, authorization: Authorization, challenge: Challenge) -> dict[str, Any] | None:
    """What CAA records say against this authorization, if they are looked for."""
    server = state.settings.caa_server
    if server is None or authorization.identifier["type"] != "dns":
        return None
    return caa.refusal(
        server, authorization.name, caa.ISSUER, authorization.account_url, challenge.type
    )


def _poll(state: State, authorization: Authorization) -> None:
    """Advances a running validation by one step, because a client polls."""
    challenge = authorization.answered
    if challenge is None or challenge.status != "processing" or authorization.polls_left < 0:
        return
    if authorization.polls_left == 0:
        _finish_validation(state, authorization, challenge)
    else:
        authorization.polls_left -= 1


def _finish_validation(
    state: State,
    authorization: Authorization,
    challenge: Challenge,
    error: dict[str, Any] | None = None,
) -> None:
    how, scripted = state.settings.failing.get(authorization.name, (None, None))
    if how is None and error is None:
        authorization.status = challenge.status = "valid"
        return
    challenge.error = error or scripted
    challenge.status = "invalid"
    if how == "invalid without error":
        challenge.error = None
    if how in ("deactivated", "expired", "revoked", "unknown"):
        challenge.status, challenge.error = "valid", None
        authorization.status = how
    elif how != "stays pending":
        authorization.status = "invalid"


def _update_status(state: State, order: Order) -> None:
    """RFC 8555 §7.1.6: updates a pending order's status from its authorizations."""
    if order.status != "pending":
        return
    statuses = {one.status for one in order.authorizations}
    if statuses == {"valid"}:
        order.status = "ready"
    elif statuses & FAILED:
        order.status = "invalid"
        names = ", ".join(one.name for one in order.authorizations if one.status in FAILED)
        if state.settings.order_errors:
            order.error = document("unauthorized", f"no authorization for {names}", status=403)


# -- finalization


def _check_csr(order: Order, signed: Signed) -> None:
    try:
        csr = x509.load_der_x509_csr(order.csr_der or b"")
        names, is_signed = names_of(csr), csr.is_signature_valid
    except ValueError as error:
        raise Problem("badCSR", detail=f"not a certificate signing request: {error}") from None
    if not is_signed:
        raise Problem("badCSR", detail="its signature is invalid")
    if names != set(order.names):
        raise Problem("badCSR", detail=f"it is for {sorted(names)}, the order for {order.names}")
    if spki(csr.public_key()) == spki(signed.key.key):
        raise Problem("badCSR", detail="its key is the account's")  # RFC 8555 §11.1


def _complete(state: State, order: Order) -> None:
    settings = state.settings
    if not settings.finalize_succeeds:
        order.status = "invalid"
        if settings.order_errors:
            order.error = document("serverInternal", "signing failed", status=500)
        return
    csr = x509.load_der_x509_csr(order.csr_der or b"")
    certificate = state.issuer.leaf(
        csr.public_key(),
        order.names,
        not_before=datetime.now(UTC) - settings.backdated,
        lifetime=settings.lifetime,
    )
    order.status, order.certificate_url = "valid", state.new_url("certificate")
    state.issued[order.certificate_url] = Issued(
        certificate=certificate,
        issuer=state.issuer,
        names=order.names,
        account_url=order.account_url,
        order_url=order.url,
        profile=order.profile,
        replaces=order.replaces,
    )


# -- responses


def _own_order(state: State, signed: Signed) -> Order:
    order = existing(state.orders, state.url("order", signed.id))
    return own(order, order.account_url, signed)


def _order_view(state: State, order: Order, status: int = 200) -> Reply:
    identifiers = list(order.identifiers)
    authorizations = [one.url for one in order.authorizations]
    if state.settings.shuffled:
        # each list in a different order, so that a client cannot rely on zip()
        identifiers.reverse()
        authorizations = authorizations[1:] + authorizations[:1]
    body = {
        "status": order.status,
        "expires": order.expires,
        "identifiers": identifiers,
        "authorizations": authorizations,
        "finalize": order.finalize_url,
        "profile": order.profile,
        "replaces": order.replaces,
        "error": order.error,
        "certificate": order.certificate_url,
    }
    known = {key: value for key, value in body.items() if value is not None}
    reply = json_reply(status, known, ("Location", order.url))
    return _with_retry_after(state, order.status, reply)


def _with_retry_after(state: State, status: str, reply: Reply) -> Reply:
    if status in UNFINISHED and state.settings.retry_after is not None and reply.status != 201:
        return reply.with_header("Retry-After", str(state.settings.retry_after))
    return reply
