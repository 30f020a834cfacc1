"""The management API of the development CA: faults, settings, the request log, the zone, renewal
windows.

It accepts requests from this machine only, and bodies in JSON only, so that a page in a browser
cannot send them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from math import inf
from typing import Any

from certctl.devca import certificates, jws
from certctl.devca.faults import Faults
from certctl.devca.log import RequestLog
from certctl.devca.problems import Problem
from certctl.devca.records import Certificate
from certctl.devca.settings import (
    parse_challenge_types,
    parse_duration,
    parse_processing,
)
from certctl.devca.state import State
from certctl.devca.wire import Reply, Request, json_reply
from certctl.model.errors import UsageError


def answer(state: State, log: RequestLog, request: Request) -> Reply:
    """Answer a request below `/manage`; raises `Problem`."""
    if not request.from_loopback:
        raise Problem("unauthorized", "management requests must come from the same machine")
    called = (request.method, "/".join(request.segments[1:]))
    known: Mapping[tuple[str, str], Callable[[], Any]] = {
        ("GET", "faults"): state.settings.faults.to_mapping,
        ("POST", "faults"): lambda: _set_faults(state, _body(request)),
        ("DELETE", "faults"): lambda: _set_faults(state, {}),
        ("GET", "requests"): lambda: {
            "counts": log.counts(),
            "requests": [asdict(each) for each in log.all()],
        },
        ("DELETE", "requests"): log.clear,
        ("POST", "settings"): lambda: _set_settings(state, _body(request)),
        ("GET", "dns"): state.zone.all_values,
        ("POST", "dns"): lambda: _change_zone(state, _body(request), add=True),
        ("DELETE", "dns"): lambda: _change_zone(state, _body(request), add=False),
        ("POST", "renewal-info"): lambda: _set_window(state, _body(request)),
        ("POST", "revoke"): lambda: _revoke(state, _body(request)),
        ("POST", "forget-nonces"): state.nonces.forget,
    }
    if called not in known:
        raise Problem("malformed", f"there is no {request.method} {request.path:.200}", status=404)
    try:
        return json_reply(200, known[called]() or {})
    except UsageError as error:
        raise Problem("malformed", f"{error.message} {error.hint or ''}".strip()) from None


def _body(request: Request) -> dict[str, Any]:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise Problem("malformed", "the Content-Type must be application/json", status=415)
    found = jws.parse_json(request.body, "the body")
    if not isinstance(found, dict):
        raise Problem("malformed", "the body is not an object")
    return found


def _set_faults(state: State, wanted: dict[str, Any]) -> dict[str, Any]:
    """Replace all faults by these; the setting `processing` is accepted here too."""
    processing = wanted.pop("processing", None)
    faults = Faults.from_mapping(wanted)
    if processing is not None:
        state.settings.processing = parse_processing(str(processing))
    state.settings.faults = faults
    return faults.to_mapping()


def _set_settings(state: State, wanted: dict[str, Any]) -> dict[str, Any]:
    for name, value in wanted.items():
        match name, value:
            case "lifetime", None:
                state.settings.lifetime = None
            case "lifetime", str():
                state.settings.lifetime = parse_duration(value)
            case "processing", str():
                state.settings.processing = parse_processing(value)
            case "challenge-types", list():
                state.settings.challenge_types = parse_challenge_types(map(str, value))
            case "reuse-authorizations", bool():
                state.settings.reuse_authorizations = value
            case "terms-of-service", str() | None:
                state.settings.terms_of_service = value
            case _:
                raise Problem("malformed", f"the value for {name!r:.40} is not valid")
    settings = state.settings
    return {
        "lifetime": settings.lifetime.total_seconds() if settings.lifetime else None,
        "processing": "never" if settings.processing == inf else settings.processing,
        "challenge-types": sorted(settings.challenge_types),
        "reuse-authorizations": settings.reuse_authorizations,
        "terms-of-service": settings.terms_of_service,
    }


def _change_zone(state: State, wanted: dict[str, Any], *, add: bool) -> dict[str, Any]:
    name, value = wanted.get("name"), wanted.get("value")
    if not isinstance(name, str) or not isinstance(value, str | None) or (add and value is None):
        raise Problem("malformed", "a TXT record must have a name and a value")
    if add and value is not None:
        state.zone.add(name, value)
    else:
        state.zone.remove(name, value)
    return {"name": name, "values": state.zone.values(name)}


def _set_window(state: State, wanted: dict[str, Any]) -> dict[str, Any]:
    """Set the renewal window of a certificate given by CertID or serial; null resets it."""
    with state.records.transaction():
        found = _certificate(state, wanted)
        window = wanted.get("window")
        if window is None:
            found.window = None
        else:
            found.window = [_seconds(window, "start"), _seconds(window, "end")]
        explanation = wanted.get("explanationURL")
        found.explanation = explanation if isinstance(explanation, str) else None
        state.records.put(found)
    return {"window": found.window, "explanationURL": found.explanation}


def _seconds(window: Any, key: str) -> float:
    text = window.get(key) if isinstance(window, dict) else None
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        raise Problem("malformed", f"the window's {key} is not a time with a time zone")
    return when.timestamp()


def _revoke(state: State, wanted: dict[str, Any]) -> dict[str, Any]:
    with state.records.transaction():
        found = _certificate(state, wanted)
        certificates.mark_revoked(state, found, wanted.get("reason", 0))
    return {"serial": found.id, "reason": found.reason}


def _certificate(state: State, wanted: dict[str, Any]) -> Certificate:
    name = wanted.get("certificate")
    found = None
    if isinstance(name, str):
        found = state.records.newest(Certificate, name) or state.records.get(
            Certificate, name.lower().replace(":", "").lstrip("0")
        )
    if found is None:
        detail = "there is no certificate with this CertID or hexadecimal serial"
        raise Problem("malformed", detail, status=404)
    return found
