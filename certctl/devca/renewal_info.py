"""Renewal information (ARI, RFC 9773): renewal windows and the `replaces` field of orders."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from certctl.devca import jws
from certctl.devca.problems import Problem
from certctl.devca.records import Certificate, Order
from certctl.devca.request_authentication import Call
from certctl.devca.state import State
from certctl.devca.wire import Reply, Request, json_reply

_TEN_DAYS = 864000.0
_SHARE = 0.02
"""The width of the window as a fraction of the validity period."""

_ASK_AGAIN = 21600


def renewal_info(state: State, request: Request) -> Reply:
    """RFC 9773 §4."""
    identifier = request.segments[1] if len(request.segments) == 2 else ""
    found = _certificate(state, identifier)
    start, end = _window(state, found)
    document: dict[str, Any] = {"suggestedWindow": {"start": _precise(start), "end": _precise(end)}}
    if found.explanation is not None:
        document["explanationURL"] = found.explanation
    lifetime = found.not_after - found.not_before
    again = max(1, min(_ASK_AGAIN, int(lifetime / 20)))
    return json_reply(200, document, ("Retry-After", str(again)))


def check_replaces(
    state: State, call: Call, replaces: object, identifiers: list[dict[str, str]]
) -> None:
    """Refuse an order that may not replace that certificate (RFC 9773 §5)."""
    found = _certificate(state, replaces)
    if found.account != call.signer.id:
        raise Problem("unauthorized", "the certificate to replace belongs to another account")
    if not any(each in found.identifiers for each in identifiers):
        raise Problem(
            "malformed", "the order and the certificate to replace have no identifier in common"
        )
    if found.replaced_by is not None:
        raise Problem("alreadyReplaced", "that certificate was already replaced by another order")


def mark_replaced(state: State, order: Order) -> None:
    """Record that an issued order replaced its predecessor certificate."""
    found = state.records.newest(Certificate, str(order.replaces))
    if found is not None and found.replaced_by is None:
        found.replaced_by = order.id
        state.records.put(found)


def _certificate(state: State, identifier: object) -> Certificate:
    parts = identifier.split(".") if isinstance(identifier, str) else []
    if len(parts) != 2 or not all(jws.decode(part, "a part of the CertID") for part in parts):
        raise Problem("malformed", "a CertID must have two parts separated by a dot")
    found = state.records.newest(Certificate, str(identifier))
    if found is None:
        raise Problem("malformed", "there is no such certificate", status=404)
    return found


def _window(state: State, found: Certificate) -> tuple[float, float]:
    """Return the renewal window: in the past if the certificate is revoked, else the window set for
    it, else a fiftieth of its validity period, centered at two thirds of it (at half of it for less
    than ten days).
    """
    lifetime = found.not_after - found.not_before
    width = max(lifetime * _SHARE, 0.2)
    if found.revoked is not None:
        end = min(state.now(), found.revoked) - 1
        return end - width, end
    if found.window is not None:
        return found.window[0], found.window[1]
    middle = found.not_before + lifetime * (0.5 if lifetime < _TEN_DAYS else 2 / 3)
    return middle - width / 2, middle + width / 2


def _precise(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
