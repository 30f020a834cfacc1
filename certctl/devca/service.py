"""Routes requests to resources, applies faults, and adds the common response headers.

The first part of a path is the name of the resource, in URLs and in the request log.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from html import escape
from http import HTTPStatus
from random import Random
from types import MappingProxyType
from typing import Any

from certctl.devca import (
    accounts,
    authorizations,
    certificates,
    management,
    orders,
    persistent_validation,
    renewal_info,
)
from certctl.devca.faults import Faults, FaultSelector, Kind
from certctl.devca.log import LoggedRequest, RequestLog
from certctl.devca.problems import Problem
from certctl.devca.request_authentication import Call, authenticate, url
from certctl.devca.state import State
from certctl.devca.wire import PROBLEM_JSON, Reply, Request, json_reply, link

WEBSITE = "https://certctl.invalid/dev-ca"

_SIGNED: Mapping[str, Callable[[State, Call], Reply]] = MappingProxyType(
    {
        "new-account": accounts.new_account,
        "account": accounts.account,
        "orders": accounts.orders,
        "key-change": accounts.key_change,
        "new-order": orders.new_order,
        "order": orders.order,
        "finalize": orders.finalize,
        "authorization": authorizations.authorization,
        "challenge": authorizations.challenge,
        "certificate": certificates.certificate,
        "revoke-certificate": certificates.revoke,
    }
)
_SINGLE = frozenset({"new-account", "key-change", "new-order", "revoke-certificate"})
_TERMS = b"""This CA is for development and testing only. Do not trust it on a production machine:
its certificates do not show that their holder controls the names in them.
"""


class Service:
    """Answers requests. Internal errors are passed to `report`, and answered with 500."""

    def __init__(self, state: State, random: Random, report: Callable[[str], None]) -> None:
        self.log = RequestLog()
        self._state = state
        self._fault_selector = FaultSelector(random)
        self._report = report

    def answer(self, request: Request) -> Reply:
        """Return the response to a request; never raises."""
        faults = self._state.settings.faults
        fault = self._fault_selector.select(faults, request.resource)
        try:
            reply = self._with_fault(request, faults, fault)
        except Exception:  # noqa: BLE001 - a bug must not end the connection's thread
            self._report(traceback.format_exc())
            reply = _refused(Problem("serverInternal", "internal error"))
        if request.resource != "manage":
            logged = LoggedRequest(
                request.method, request.resource, request.target, reply.status, fault
            )
            self.log.add(logged)
        return reply

    def _with_fault(self, request: Request, faults: Faults, fault: Kind | None) -> Reply:
        if fault in (None, "lost-reply"):
            reply = self._answer(request)
            if fault == "lost-reply":
                return replace(reply, lost=True)
            return replace(reply, drip=faults.drip) if faults.drip else reply
        if fault == "bad-nonce" and request.method != "POST":
            return self._answer(request)
        reply = _refused(_problem(fault, faults))
        if faults.html:
            return _as_html(reply)
        if request.method == "POST":
            reply = reply.adding(("Replay-Nonce", self._state.nonces.fresh()))
        return replace(reply, drip=faults.drip)

    def _answer(self, request: Request) -> Reply:
        try:
            reply = self._route(request)
        except Problem as problem:
            reply = _refused(problem)
        if request.resource not in ("directory", "manage"):
            reply = reply.adding(link(url(request, "directory"), "index"))
        if request.method == "POST" or request.resource == "new-nonce":
            reply = reply.adding(("Replay-Nonce", self._state.nonces.fresh()))
        return reply

    def _route(self, request: Request) -> Reply:
        resource = request.resource
        if resource in _SIGNED:
            _require(request, "POST")
            if resource in _SINGLE and len(request.segments) > 1:
                raise Problem("malformed", f"there is no {request.path:.200}", status=404)
            with self._state.records.transaction():
                return _SIGNED[resource](self._state, authenticate(self._state, request))
        if resource == "manage":
            return management.answer(self._state, self.log, request)
        found = self._open_resource(request)
        if found is None:
            raise Problem("malformed", f"there is no {request.path:.200}", status=404)
        return found

    def _open_resource(self, request: Request) -> Reply | None:
        resource = request.resource
        answers: Mapping[str, Callable[[], Reply]] = {
            "directory": lambda: json_reply(200, self._directory(request)),
            "new-nonce": lambda: Reply(
                HTTPStatus.OK if request.method == "HEAD" else HTTPStatus.NO_CONTENT,
                headers=(("Cache-Control", "no-store"),),
            ),
            "renewal-info": lambda: renewal_info.renewal_info(self._state, request),
            "crl": lambda: certificates.revocation_list(self._state, request),
            "issuer": lambda: certificates.issuer_certificate(self._state, request),
            "root": lambda: _text(self._state.authority.root_pem),
            "terms": lambda: _text(_TERMS),
        }
        several = resource in ("renewal-info", "crl", "issuer")
        if resource not in answers or (len(request.segments) > 1 and not several):
            return None
        _require(request, "GET", "HEAD")
        return answers[resource]()

    def _directory(self, request: Request) -> dict[str, Any]:
        """RFC 8555 §7.1.1, RFC 9773 §3, and the profiles."""
        settings = self._state.settings
        meta: dict[str, Any] = {
            "website": WEBSITE,
            "caaIdentities": [persistent_validation.ISSUER],
            "externalAccountRequired": bool(settings.eab_keys),
            "profiles": {each.name: each.description for each in settings.profiles.values()},
        }
        if "dns-persist-01" in settings.challenge_types and settings.dns_persist_form != "01":
            meta["issuerDomainNames"] = [persistent_validation.ISSUER]
            meta["accountHashPrefix"] = persistent_validation.ACCOUNT_HASH_PREFIX
        if settings.terms_of_service is not None:
            meta["termsOfService"] = accounts.terms_url(settings.terms_of_service, request.base)
        return {
            "newNonce": url(request, "new-nonce"),
            "newAccount": url(request, "new-account"),
            "newOrder": url(request, "new-order"),
            "revokeCert": url(request, "revoke-certificate"),
            "keyChange": url(request, "key-change"),
            "renewalInfo": url(request, "renewal-info"),
            "meta": meta,
        }


def _require(request: Request, *methods: str) -> None:
    if request.method not in methods:
        allow = ("Allow", ", ".join(methods))
        raise Problem(
            "malformed", f"{request.method} is not allowed here", status=405, headers=(allow,)
        )


def _refused(problem: Problem) -> Reply:
    return json_reply(problem.status, problem.document(), *problem.headers, media=PROBLEM_JSON)


def _problem(fault: Kind | None, faults: Faults) -> Problem:
    again = (("Retry-After", faults.retry_after),) if faults.retry_after is not None else ()
    match fault:
        case "bad-nonce":
            return Problem("badNonce", "injected fault")
        case "unavailable":
            return Problem("serverInternal", "injected fault", status=503, headers=again)
        case "rate-limited":
            return Problem("rateLimited", "injected fault", headers=again)
        case _:
            return Problem("serverInternal", "injected fault", headers=again)


def _as_html(reply: Reply) -> Reply:
    """Return an error page like a load balancer's: no nonce, no problem document."""
    phrase = escape(HTTPStatus(reply.status).phrase)
    page = f"<html><head><title>{phrase}</title></head><body><h1>{phrase}</h1></body></html>\n"
    kept = tuple(each for each in reply.headers if each[0] == "Retry-After")
    return Reply(reply.status, page.encode(), (("Content-Type", "text/html"), *kept))


def _text(body: bytes) -> Reply:
    return Reply(200, body, (("Content-Type", "text/plain; charset=utf-8"),))
