"""Faults of a CA, for `ScriptedCA.script`.

A fault is a function from a `Call` to the `Reply` to send. It may reply by itself, so that the
request is never processed, or let the CA process it (`call.proceed()`) and alter the reply.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from tests.lab.scripted_ca import problems
from tests.lab.scripted_ca.state import Received
from tests.lab.scripted_ca.wire import Connection, Reply

CHUNK = 65536


@dataclass(frozen=True)
class Call:
    """One request that a fault applies to."""

    received: Received
    proceed: Callable[[], Reply]  # processes the request and returns the correct reply
    fresh_nonce: Callable[[], str]
    connection: Connection


Fault: TypeAlias = Callable[[Call], Reply]


# -- replies in place of the CA's; the request is not processed


def response(
    status: int, body: bytes | str | dict[str, Any] = b"", headers: dict[str, str] | None = None
) -> Fault:
    """Exactly this response, without a nonce, as from a proxy in front of the CA. A dict is sent as
    JSON."""
    raw = json.dumps(body) if isinstance(body, dict) else body
    data = raw.encode() if isinstance(raw, str) else raw
    typed = {"Content-Type": "application/json"} if isinstance(body, dict) else {}
    reply = Reply(status, data, tuple((typed | (headers or {})).items()))
    return lambda _call: reply


def problem(
    kind: str,
    status: int = 400,
    detail: str = "scripted",
    *,
    subproblems: list[dict[str, Any]] | None = None,
    retry_after: int | str | None = None,
    help_url: str | None = None,
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> Fault:
    """A problem document with a fresh nonce, as sent by the CA itself. `fields` are added to the
    document; `detail=""` omits the detail."""
    if subproblems is not None:
        fields["subproblems"] = subproblems
    more = dict(headers or {})
    if retry_after is not None:
        more["Retry-After"] = str(retry_after)
    if help_url:
        more["Link"] = f'<{help_url}>;rel="help"'
    scripted = problems.Problem(kind, status, detail, headers=tuple(more.items()), **fields)
    return lambda call: scripted.reply().with_header("Replay-Nonce", call.fresh_nonce())


def subproblem(identifier: str, kind: str, detail: str = "scripted") -> dict[str, Any]:
    """One of a problem's subproblems (RFC 8555 §6.7.1), about a DNS name."""
    return problems.document(kind, detail, identifier={"type": "dns", "value": identifier})


def redirect(status: int = 302, to: str | None = None) -> Fault:
    """A redirect to another URL, or to the same one."""

    def fault(call: Call) -> Reply:
        return Reply(status, headers=(("Location", to or call.received.request.url),))

    return fault


def huge(size: int = 300_000_000, *, announced: bool = True, status: int = 200) -> Fault:
    """A body of `size` spaces. Unless `announced`, it has no Content-Length and ends with the
    connection."""

    def send(reply: Reply, connection: Connection) -> None:
        connection.write(reply.head(length=size if announced else None))
        connection.close()
        for start in range(0, size, CHUNK):
            connection.write(b" " * min(CHUNK, size - start))

    reply = Reply(status, headers=(("Content-Type", "application/json"),), send=send)
    return lambda _call: reply


def raw(data: bytes) -> Fault:
    """Send these bytes instead of an HTTP response, then close the connection."""

    def send(_reply: Reply, connection: Connection) -> None:
        connection.write(data)
        connection.close()

    return lambda _call: Reply(send=send)


# -- dropped connections, delays, and functions called during a request


def drop_connection(*, after_processing: bool = False, reset: bool = False) -> Fault:
    """No reply: before processing the request, or after it (a lost reply). Closes the connection
    with FIN or RST (Python's TLS reports both as an end of file)."""

    def fault(call: Call) -> Reply:
        if after_processing:
            call.proceed()
        if reset:
            call.connection.reset()
        call.connection.drop()

    return fault


def delay(seconds: float, *, after_processing: bool = False) -> Fault:
    """The correct reply, delayed."""

    def fault(call: Call) -> Reply:
        if not after_processing:
            call.connection.pause(seconds)
        reply = call.proceed()
        if after_processing:
            call.connection.pause(seconds)
        return reply

    return fault


def alone(seconds: float = 0.0, status: int = 500) -> Fault:
    """The correct reply after `seconds`, or a server error without processing the request if
    another request for this fault is under way, as from a CA whose database has one writer."""
    writer = threading.Lock()

    def fault(call: Call) -> Reply:
        if not writer.acquire(blocking=False):
            return problem("serverInternal", status, "database is locked")(call)
        try:
            call.connection.pause(seconds)
            return call.proceed()
        finally:
            writer.release()

    return fault


def calls(function: Callable[[], object], *, after_processing: bool = True) -> Fault:
    """The correct reply. The test's function runs after processing the request, before the reply
    is sent (or before processing), for example to kill the client or to change the CA's state."""

    def fault(call: Call) -> Reply:
        if not after_processing:
            function()
        reply = call.proceed()
        if after_processing:
            function()
        return reply

    return fault


# -- the correct reply, altered


def truncated(keep: int = 20) -> Fault:
    """The first `keep` bytes of the body, with the Content-Length of the whole body."""

    def send(reply: Reply, connection: Connection) -> None:
        connection.write(reply.head(length=len(reply.body)) + reply.body[:keep])
        connection.close()

    return _sent_by(send)


def drip(size: int = 1, seconds: float = 0.1) -> Fault:
    """The body in pieces of `size` bytes with a pause after each, shorter than any read timeout."""

    def send(reply: Reply, connection: Connection) -> None:
        connection.write(reply.head(length=len(reply.body)))
        for start in range(0, len(reply.body), size):
            connection.write(reply.body[start : start + size])
            connection.pause(seconds)

    return _sent_by(send)


def with_status(status: int) -> Fault:
    return lambda call: replace(call.proceed(), status=status)


def with_header(name: str, value: str) -> Fault:
    return lambda call: call.proceed().with_header(name, value)


def without_header(name: str) -> Fault:
    return lambda call: call.proceed().without_header(name)


def _sent_by(send: Callable[[Reply, Connection], None]) -> Fault:
    return lambda call: replace(call.proceed(), send=send)


def together(*faults: Fault) -> Fault:
    """Several faults combined, outermost first: `together(drip(), with_header("Date", "..."))`. All
    except the last must call `proceed`."""

    def fault(call: Call) -> Reply:
        first, *rest = faults
        if not rest:
            return first(call)
        return first(replace(call, proceed=lambda: together(*rest)(call)))

    return fault


# -- changes to a JSON object before it is sent, for `ScriptedCA.on`

# alters a JSON object in place; its return value is ignored
Change: TypeAlias = Callable[[dict[str, Any]], object]


def setting(**fields: Any) -> Change:
    """`ca.on("order", setting(status="processing"))`"""
    return lambda body: body.update(fields)


def removing(*names: str) -> Change:
    """`ca.on("order", removing("finalize"))`"""

    def change(body: dict[str, Any]) -> None:
        for name in names:
            body.pop(name, None)

    return change


def altered(reply: Reply, change: Change) -> Reply:
    body = json.loads(reply.body)
    change(body)
    return replace(reply, body=json.dumps(body).encode())
