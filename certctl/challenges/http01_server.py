"""A tiny HTTP server for HTTP-01 answers: one thread, many connections, everything bounded.

It answers GET and HEAD for the tokens that it was given, and nothing else. A client that stalls
costs one socket until its time is up, and delays nobody; where there are too many of them, the
oldest make room. It is not a web server: no bodies, no kept-alive connections, no files.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import cast

from certctl.challenges.http01 import PREFIX
from certctl.challenges.listening import BACKLOG

MAX_REQUEST_BYTES = 8192
CONNECTION_SECONDS = 10.0
LINGER_SECONDS = 2.0
MAX_CONNECTIONS = 768
"""Fewer than the 1024 descriptors that a process usually may have, with some to spare."""


class Answers:
    """The tokens that are answered, and which of them were asked for; safe from any thread."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._key_authorizations: dict[str, str] = {}
        self._asked: set[str] = set()
        self._watchers: dict[threading.Event, frozenset[str]] = {}

    def __len__(self) -> int:
        with self._mutex:
            return len(self._key_authorizations)

    def add(self, token: str, key_authorization: str) -> None:
        """Answer `token` from now on."""
        with self._mutex:
            self._key_authorizations[token] = key_authorization

    def remove(self, token: str) -> None:
        """Answer `token` no more; one that is unknown is no failure."""
        with self._mutex:
            self._key_authorizations.pop(token, None)
            self._asked.discard(token)

    def take(self, token: str) -> str | None:
        """Return the answer for `token`, noting that somebody asked; None for an unknown token."""
        with self._mutex:
            answer = self._key_authorizations.get(token)
            if answer is not None:
                self._asked.add(token)
                self._notify()
            return answer

    def watch(self, tokens: Iterable[str]) -> threading.Event:
        """Return an event that is set once each of `tokens` was asked for; see `unwatch`."""
        event = threading.Event()
        with self._mutex:
            self._watchers[event] = frozenset(tokens)
            self._notify()
        return event

    def unwatch(self, event: threading.Event) -> None:
        """Forget an event of `watch`."""
        with self._mutex:
            self._watchers.pop(event, None)

    def _notify(self) -> None:
        for event, tokens in self._watchers.items():
            if tokens <= self._asked:
                event.set()


class ChallengeServer:
    """Serves `answers` at sockets that listen already, in a thread of its own, until `close`."""

    def __init__(self, listeners: Sequence[socket.socket], answers: Answers) -> None:
        self._listeners = listeners
        self._answers = answers
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="http-01", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the sockets and every connection; return when the thread has ended."""
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def _run(self) -> None:
        # The connections that came before the loop runs wait in the kernel's queue.
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        connections: dict[_Connection, None] = {}
        servers = [
            await self._loop.create_server(
                lambda: _Connection(self._answers, connections), sock=listener, backlog=BACKLOG
            )
            for listener in self._listeners
        ]
        await self._closing.wait()
        for server in servers:
            server.close()
        for connection in tuple(connections):
            connection.drop()
        # One turn of the loop lets the dropped transports close their sockets.
        await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    """One client, from its connection to its one answer, or to the end of its time."""

    def __init__(self, answers: Answers, connections: dict[_Connection, None]) -> None:
        self._answers = answers
        self._connections = connections
        self._deadline: asyncio.TimerHandle | None = None
        self._received = bytearray()
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._limit_time(CONNECTION_SECONDS)
        self._connections[self] = None
        if len(self._connections) > MAX_CONNECTIONS:
            # Whoever came first has had the most time; the CA asks at once.
            next(iter(self._connections)).drop()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - gone is gone
        self._connections.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()

    def data_received(self, data: bytes) -> None:
        if self._answered:
            return
        self._received += data[: MAX_REQUEST_BYTES + 1 - len(self._received)]
        if _head_is_complete(self._received):
            self._send(respond(bytes(self._received), self._answers))
        elif len(self._received) > MAX_REQUEST_BYTES:
            self._send(_response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))

    def drop(self) -> None:
        """Close the connection now."""
        self._connections.pop(self, None)
        self._transport.abort()

    def _send(self, response: bytes) -> None:
        self._answered = True
        self._transport.write(response)
        # Closing while the client still sends would reset the connection, and the client might
        # never see the answer (RFC 9112 §9.6): so end our side only, and wait for its end.
        self._transport.write_eof()
        self._limit_time(LINGER_SECONDS)

    def _limit_time(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(seconds, self.drop)


def respond(request: bytes, answers: Answers) -> bytes:
    """Return the whole response to a request's head (RFC 9112); unknown tokens are 404."""
    line = request.lstrip(b"\r\n").split(b"\n", 1)[0].rstrip(b"\r")
    try:
        method, target, version = line.decode("ascii").split(" ")
    except ValueError:
        return _response(HTTPStatus.BAD_REQUEST)
    if not version.startswith("HTTP/1."):
        return _response(HTTPStatus.BAD_REQUEST)
    token = _token(target)
    if token is None:
        return _response(HTTPStatus.NOT_FOUND)
    if method not in ("GET", "HEAD"):
        return _response(HTTPStatus.METHOD_NOT_ALLOWED, headers=("Allow: GET, HEAD",))
    answer = answers.take(token)
    if answer is None:
        return _response(HTTPStatus.NOT_FOUND, with_body=method == "GET")
    body = answer.encode("ascii")
    return _response(HTTPStatus.OK, body, with_body=method == "GET")


def _token(target: str) -> str | None:
    # RFC 9112 §3.2.2: a server takes the absolute form too.
    if target.lower().startswith("http://"):
        target = "/" + target[len("http://") :].partition("/")[2]
    path = target.partition("?")[0]
    return path.removeprefix(PREFIX) if path.startswith(PREFIX) else None


def _head_is_complete(received: bytearray) -> bool:
    return b"\r\n\r\n" in received or b"\n\n" in received


def _response(
    status: HTTPStatus,
    body: bytes | None = None,
    *,
    headers: Sequence[str] = (),
    with_body: bool = True,
) -> bytes:
    content = f"{status.value} {status.phrase}\n".encode("ascii") if body is None else body
    # RFC 8555 §8.3 recommends this type for the answer.
    content_type = "text/plain; charset=us-ascii" if body is None else "application/octet-stream"
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(content)}",
        "Connection: close",
        *headers,
        "\r\n",
    )
    return "\r\n".join(head).encode("ascii") + (content if with_body else b"")
