"""The steps of an order, from newOrder to the certificate's URL (RFC 8555 §7.1.6, §7.4, §7.5).

One function per step, over a `Network` whose signer has an account. Completing the challenges is
the caller's job. Steps that the CA refused permanently are not retried.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus

from certctl.ca import messages
from certctl.ca.network import MORE_TIME, Network
from certctl.ca.polling import PollTimer
from certctl.ca.problems import Resource
from certctl.ca.signing import base64url
from certctl.model.ca import Authorization, Challenge, Order
from certctl.model.errors import (
    AccountError,
    AcmeError,
    BadResponse,
    CaUnavailable,
    CertctlError,
    Interrupted,
    OrderFailed,
    OrderTimeout,
    RateLimited,
    ValidationFailed,
)
from certctl.model.identifiers import Identifier

_FAILURE_COLLECTION_DELAYS = (0.25, 0.5, 1.0)
"""Seconds between polls of the remaining authorizations after one has failed. All failures are
reported together, because every further attempt counts against the CA's limit on failures.
"""

_ANSWER_DELAYS = (0.0, 0.5, 1.0)
"""Seconds before a challenge response is repeated that the CA has not seen, or failed on."""

_STUCK_SECONDS = 60.0
"""How long an authorization may stay pending after the CA failed on its challenge response, and
seemed to have begun the validation.
"""

_EXPLANATION_SECONDS = 10.0
_CLEANUP_SECONDS = 10.0
"""For all requests together that find out why an order failed, and that clean up after it."""

_INCOMPLETE_ORDER_DELAYS = (0.5, 1.0, 2.0)
"""Seconds before a pending order without authorizations is read again."""

_CSR_ATTEMPTS = 5

_ABOUT_IDENTIFIERS = frozenset(
    {"caa", "connection", "dns", "rejectedIdentifier", "unsupportedIdentifier"}
)
"""Problem types that are about some of an order's names (RFC 8555 §6.7)."""

_QUOTED = re.compile(r"[\"'`\u201c\u2018]([^\"'`\u201c\u201d\u2018\u2019\s]+)[\"'`\u201d\u2019]")

_FAILED_STATUSES = frozenset({"invalid", "expired", "revoked", "deactivated"})


def new_order(
    network: Network,
    identifiers: Sequence[Identifier],
    *,
    profile: str | None = None,
    replaces: str | None = None,
) -> Order:
    """Place an order and return it, `ready` or `pending` (RFC 8555 §7.4).

    If the response is lost, the request is sent again: CAs return the same pending order, or
    create a second one and let the first expire. `replaces` (RFC 9773 §5) is sent only to a CA that
    offers renewal information. Raises `BadResponse` if the identifiers differ, `AcmeError` if the
    CA refuses the order.
    """
    payload: dict[str, object] = {
        "identifiers": [{"type": each.type.value, "value": each.value} for each in identifiers]
    }
    if profile is not None:
        payload["profile"] = profile
    if replaces is not None and network.directory.renewal_info is not None:
        payload["replaces"] = replaces
    url = network.url("newOrder", Resource.NEW_ORDER)
    try:
        response = network.send(url, payload, resource=Resource.NEW_ORDER)
    except AcmeError as error:
        if error.type in _ABOUT_IDENTIFIERS and not error.reasons:
            names = [each.value for each in identifiers]
            error.reasons = tuple((name, error.message) for name in mentioned(error.message, names))
        raise
    placed = messages.order(
        response,
        messages.location(response, Resource.NEW_ORDER),
        resource=Resource.NEW_ORDER,
        known=Order("", "", tuple(identifiers), ()),
        retry_after=network.retry_after(response),
    )
    # Some CAs create the authorizations a moment after the order.
    for seconds in _INCOMPLETE_ORDER_DELAYS:
        if placed.status != "pending" or placed.authorization_urls:
            return placed
        network.pause(seconds)
        placed = read_order(network, placed.url, known=placed)
    if placed.status == "pending" and not placed.authorization_urls:
        raise messages.bad_response(
            response, Resource.NEW_ORDER, "with a pending order without authorizations"
        )
    return placed


def read_order(network: Network, url: str, *, known: Order | None = None) -> Order:
    """Return the order's current state."""
    response = network.send(url, None, resource=Resource.ORDER)
    wait = network.retry_after(response)
    return messages.order(response, url, known=known, retry_after=wait)


def read_authorizations(network: Network, order: Order) -> list[Authorization]:
    """Return the current state of an order's authorizations, in the order of their URLs; many are
    read in parallel.

    Raises `BadResponse` for one of a name that is not in the order: no challenge may be completed,
    and no hook be called, for a name that only the CA chose.
    """
    found = network.parallel(lambda url: read_authorization(network, url), order.authorization_urls)
    requested = {(each.type, each.base) for each in order.identifiers}
    for each in found:
        if (each.identifier.type, each.identifier.base) not in requested:
            raise BadResponse(
                f"{network.host} wants {each.identifier} validated, which is not in the order"
            )
    return found


def read_authorization(network: Network, url: str) -> Authorization:
    """Return the authorization's current state."""
    response = network.send(url, None, resource=Resource.AUTHORIZATION)
    return messages.authorization(response, url)


def answer(network: Network, challenge: Challenge) -> bool:
    """Tell the CA to validate the challenge (RFC 8555 §7.5.1). Return whether the CA said that it
    does; False if its response was lost or a server error, and it merely seems to.

    Some CAs validate immediately and answer with an error if that fails. That is not an error here,
    because the authorization reports it with the reason. It is one if the challenge is unchanged.
    """
    for delay in (*_ANSWER_DELAYS, None):
        try:
            _send_answer(network, challenge)
        except (RateLimited, AccountError, OrderTimeout):
            raise
        except AcmeError as error:
            # 409: the CA is already validating it, although it may still show it as pending.
            if error.status == HTTPStatus.CONFLICT:
                return True
            unavailable = isinstance(error, CaUnavailable)
            if not _is_still_pending(network, challenge):
                return not unavailable
            if not unavailable or delay is None:
                raise
            # The request was lost, not the response.
            network.pause(delay)
        else:
            return True
    raise AssertionError  # the last attempt returns or raises


def is_refusal(error: AcmeError) -> bool:
    """Return whether a CA refused a challenge response for a reason that is about its name alone:
    then the other names of the order can still be validated.
    """
    others = (AccountError, CaUnavailable, OrderTimeout, RateLimited)
    client_error = error.status is not None and 400 <= error.status < 500
    return client_error and not isinstance(error, others) and error.type != "badNonce"


def deactivate(network: Network, authorization_url: str) -> bool:
    """Deactivate an authorization (RFC 8555 §7.5.2); return whether the CA did so. Never raises an
    `AcmeError`.
    """
    payload = {"status": "deactivated"}
    try:
        network.send(authorization_url, payload, resource=Resource.DEACTIVATION)
    except (AcmeError, Interrupted):
        return False
    return True


def deactivate_all(network: Network, authorization_urls: Sequence[str]) -> None:
    """Deactivate authorizations within a few seconds, until the CA does not do so for one: it is
    then down, or does not support it.
    """
    bounded = network.at_most(_CLEANUP_SECONDS)

    def one(url: str) -> None:
        if not deactivate(bounded, url):
            raise _NotDeactivatedError

    with suppress(_NotDeactivatedError):
        bounded.parallel(one, authorization_urls)


class _NotDeactivatedError(Exception):
    """The CA did not deactivate an authorization."""


class Stuck(Exception):
    """An order makes no progress since the CA failed on these challenge responses."""

    def __init__(self, error: OrderFailed, challenges: frozenset[str]) -> None:
        super().__init__(error.message)
        self.error = error
        self.challenges = challenges


def await_ready(
    network: Network, order: Order, *, deadline: float, doubtful: frozenset[str] = frozenset()
) -> Order:
    """Return the order once the CA has validated every identifier: `ready`, or a later status.

    `deadline` is in terms of the clock's `monotonic`. `doubtful` are URLs of challenges of which it
    is not certain that the CA has begun to validate them. Raises `ValidationFailed` with the CA's
    reason for each identifier, `OrderFailed`, or `Stuck`.
    """
    stuck_at = network.clock.monotonic() + _STUCK_SECONDS if doubtful else math.inf
    open_urls = order.authorization_urls
    with PollTimer(network, deadline) as timer:
        while order.status not in {"ready", "processing", "valid"}:
            # Wait first: no CA has validated anything yet, so an immediate poll would be wasted.
            if order.status == "invalid" or not timer.wait(order.retry_after):
                raise _failure(network, order, deadline)
            order = read_order(network, order.url, known=order)
            if order.status == "pending" and timer.authorizations_due():
                # Some CAs leave an order pending although an authorization has failed.
                unfinished = _read_unfinished(network, open_urls)
                if any(_failure_reason(each) is not None for each in unfinished):
                    raise _failure(network, order, deadline)
                if network.clock.monotonic() >= stuck_at:
                    _require_progress(network, unfinished, doubtful)
                open_urls = tuple(each.url for each in unfinished)
    return order


def await_validated(
    network: Network, order: Order, urls: Sequence[str], *, deadline: float
) -> None:
    """Return once the CA has validated these authorizations of an order that has more of them.

    `deadline` is in terms of the clock's `monotonic`. Raises `ValidationFailed` with the CA's
    reason for each identifier, or `OrderTimeout`.
    """
    with PollTimer(network, deadline, requests=len(urls)) as timer:
        while urls:
            if not timer.wait(None):
                raise _failure(network, order, deadline)
            unfinished = _read_unfinished(network, urls)
            if any(_failure_reason(each) is not None for each in unfinished):
                raise _failure(network, order, deadline)
            urls = [each.url for each in unfinished]


def finalize(network: Network, order: Order, csr: bytes, *, deadline: float) -> Order:
    """Submit the certificate signing request (DER) and return the order once it is `valid`, with
    its certificate's URL (RFC 8555 §7.4).

    If the order was finalized earlier, only wait for it. `deadline` is in terms of the clock's
    `monotonic`. Raises `OrderFailed`, or `AcmeError` if the CA refuses the request.
    """
    attempts = 0
    with PollTimer(network, deadline) as timer:
        while order.status != "valid":
            if order.status == "invalid":
                raise _failure(network, order, deadline)
            if order.status == "ready":
                attempts += 1
                order = _send_csr(network, order, csr, is_last=attempts == _CSR_ATTEMPTS)
                if order.status in {"valid", "invalid"}:
                    continue
            if not timer.wait(order.retry_after):
                raise _failure(network, order, deadline)
            order = read_order(network, order.url, known=order)
    if order.certificate_url is None:
        raise BadResponse(f"{network.host} returned a valid order without a certificate URL")
    return order


def mentioned(text: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return which of the names a CA's text is about: those in quotes, or else those that are in it
    as whole words.
    """
    quoted = {each.lower().removesuffix(".") for each in _QUOTED.findall(text)}
    found = tuple(each for each in names if each in quoted)
    return found or tuple(
        each
        for each in names
        if re.search(rf"(?<![\w.*-]){re.escape(each)}(?![\w-]|\.\w)", text, re.IGNORECASE)
    )


def _send_answer(network: Network, challenge: Challenge) -> None:
    network.send(challenge.url, {}, resource=Resource.CHALLENGE, resend=False)


def _is_still_pending(network: Network, challenge: Challenge) -> bool:
    """Return whether the challenge is unchanged at the CA: pending, without an error."""
    try:
        response = network.send(challenge.url, None, resource=Resource.CHALLENGE)
    except CaUnavailable:
        raise
    except AcmeError:
        return True
    document = messages.json_object(response, Resource.CHALLENGE)
    now = messages.challenge(document, challenge.url)
    return now is None or (now.status == "pending" and now.error is None)


def _send_csr(network: Network, order: Order, csr: bytes, *, is_last: bool) -> Order:
    """Send the signing request once. If the outcome is unknown, return the order as `processing`,
    so that the caller polls it.
    """
    if order.finalize_url is None:
        raise BadResponse(f"{network.host} returned an order without a finalize URL")
    payload = {"csr": base64url(csr)}
    try:
        response = network.send(
            order.finalize_url, payload, resource=Resource.FINALIZE, resend=False
        )
    except AcmeError as error:
        if is_last or not (isinstance(error, CaUnavailable) or error.type == "orderNotReady"):
            raise
        return replace(order, status="processing", retry_after=error.retry_after)
    return messages.order(
        response,
        order.url,
        resource=Resource.FINALIZE,
        known=order,
        retry_after=network.retry_after(response),
    )


def _require_progress(
    network: Network, unfinished: Sequence[Authorization], doubtful: frozenset[str]
) -> None:
    """Raise `Stuck` if an authorization is unfinished for whose challenge the CA failed."""
    stuck = {
        str(each.identifier): challenge.url
        for each in unfinished
        for challenge in each.challenges
        if challenge.url in doubtful
    }
    if stuck:
        raise Stuck(
            OrderFailed(
                f"{network.host} failed to process the challenge response for {', '.join(stuck)}, "
                "and has not validated it since",
                hint="Run the command again to place a new order.",
            ),
            frozenset(stuck.values()),
        )


def _read_unfinished(network: Network, urls: Sequence[str]) -> list[Authorization]:
    found = network.parallel(lambda url: read_authorization(network, url), urls)
    return [each for each in found if each.status != "valid"]


def _failure_reason(authorization: Authorization) -> str | None:
    """Return why the authorization has failed, in the CA's words if it gave a reason; None if it
    has not failed.
    """
    errors = [each.error for each in authorization.challenges if each.error is not None]
    if authorization.status in _FAILED_STATUSES:
        return "; ".join(errors) or f"the authorization is {authorization.status}, no reason given"
    # A `processing` challenge with an error is being retried by the CA (RFC 8555 §8.2).
    given_up = [
        each.error or "the challenge is invalid, no reason given"
        for each in authorization.challenges
        if each.status == "invalid" or (each.error is not None and each.status != "processing")
    ]
    return "; ".join(given_up) or None


def _failure(network: Network, order: Order, deadline: float) -> CertctlError:
    """Return why the order did not become ready or valid, from its authorizations' state. That
    takes a few seconds, even after the deadline.
    """
    network = network.at_most(_EXPLANATION_SECONDS)
    try:
        unfinished = _read_unfinished(network, order.authorization_urls)
    except AcmeError as error:
        if network.clock.monotonic() < deadline:
            raise
        return _timeout(network, order, f"; its authorizations cannot be read: {error.message}")
    failed: dict[str, str] = {}
    for seconds in (*_FAILURE_COLLECTION_DELAYS, None):
        for each in unfinished:
            reason = _failure_reason(each)
            if reason is not None:
                failed[str(each.identifier)] = reason
        unfinished = [each for each in unfinished if str(each.identifier) not in failed]
        late = network.clock.monotonic() >= deadline
        if seconds is None or late or not unfinished or not failed:
            break
        network.pause(seconds)
        with suppress(AcmeError):  # what failed is known already
            unfinished = _read_unfinished(network, [each.url for each in unfinished])
    if failed:
        return _validation_failed(network, order, failed)
    if order.status == "invalid":
        said = order.error or "no reason was given"
        return OrderFailed(
            f"{network.host} declared the order invalid: {said}", type=order.error_type
        )
    waiting = ", ".join(f"{each.identifier} ({each.status})" for each in unfinished)
    return _timeout(network, order, f"; still waiting for {waiting}" if waiting else "")


def _timeout(network: Network, order: Order, about: str) -> OrderTimeout:
    return OrderTimeout(
        f"the order at {network.host} was still {order.status} when the timeout expired{about}",
        hint=MORE_TIME,
    )


def _doctor(names: Iterable[str]) -> str:
    """Return the command that examines the first of these names."""
    return f"certctl doctor {shlex.quote(next(iter(names)))}"


def _validation_failed(network: Network, order: Order, failed: dict[str, str]) -> ValidationFailed:
    total = max(len(order.identifiers), len(failed))
    reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
    of_many = f" ({len(failed)} of {total} names)" if total > 1 else ""
    return ValidationFailed(
        f"validation by {network.host} failed{of_many}: {reasons}",
        reasons=tuple(failed.items()),
        hint="Check from outside your network what the CA sees: the DNS records of each name, and "
        f"the server that answers there. For a check from here, run: {_doctor(failed)}",
    )
