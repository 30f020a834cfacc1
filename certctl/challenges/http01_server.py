"""A minimal HTTP server for HTTP-01: GET and HEAD requests for known tokens.

It supports no request bodies, no persistent connections and no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from certctl.challenges.answers import Answers
from certctl.challenges.challenge_server import Connection, Connections
from certctl.challenges.http01 import PREFIX

MAX_REQUEST_BYTES = 8192


class HttpConnection(Connection):
    """One request and its response; `answers` has the key authorizations by token."""

    def __init__(self, answers: Answers[str], connections: Connections) -> None:
        super().__init__(connections)
        self._answers = answers
        self._received = bytearray()
        self._answered = False

    def data_received(self, data: bytes) -> None:
        if self._answered:
            return
        self._received += data[: MAX_REQUEST_BYTES + 1 - len(self._received)]
        if _head_is_complete(self._received):
            self._send(respond(bytes(self._received), self._answers))
        elif len(self._received) > MAX_REQUEST_BYTES:
            self._send(_response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))

    def _send(self, response: bytes) -> None:
        self._answered = True
        self.end(response)


def respond(request: bytes, answers: Answers[str]) -> bytes:
    """Return the complete response to a request head (RFC 9112); 404 for an unknown token."""
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
    # RFC 9112 §3.2.2: a server must accept the absolute form, too.
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
    # RFC 8555 §8.3 recommends application/octet-stream for the answer.
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
