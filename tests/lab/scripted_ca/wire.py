"""An HTTP and TLS server on loopback. Requests and replies are values; how a reply is sent (whole,
slowly, truncated, not at all) is part of the reply.

It knows nothing of ACME. Each connection has one thread, and `Listener.close` ends all of them, so
that no thread or socket outlives a test.
"""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.message import Message
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, NoReturn

NO_CONTENT = 204


@dataclass(frozen=True)
class Request:
    method: str
    url: str  # absolute, built from the server's address, not from the Host header
    path: str
    headers: Message  # case-insensitive
    body: bytes


def whole(reply: Reply, connection: Connection) -> None:
    """Sends a reply in one piece, as usual."""
    connection.write(reply.head(length=len(reply.body)) + reply.body)


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    send: Callable[[Reply, Connection], None] = whole

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def with_header(self, name: str, value: str) -> Reply:
        """The same reply with this header set, replacing any others of that name."""
        return self.without_header(name).adding_header(name, value)

    def adding_header(self, name: str, value: str) -> Reply:
        return replace(self, headers=(*self.headers, (name, value)))

    def without_header(self, name: str) -> Reply:
        kept = tuple((key, value) for key, value in self.headers if key.lower() != name.lower())
        return replace(self, headers=kept)

    def head(self, *, length: int | None) -> bytes:
        """The status line and headers, including the empty line. Without a length the body ends
        with the connection."""
        known = {status.value: status.phrase for status in HTTPStatus}
        lines = [f"HTTP/1.1 {self.status} {known.get(self.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.header("Date") is None:
            lines.append(f"Date: {formatdate(usegmt=True)}")
        if length is None:
            lines.append("Connection: close")
        elif self.status != NO_CONTENT:  # RFC 9110 §8.6
            lines.append(f"Content-Length: {length}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def json_reply(status: int, body: Any, *headers: tuple[str, str]) -> Reply:
    typed = (("Content-Type", "application/json"), *headers)
    return Reply(status, json.dumps(body).encode(), typed)


class Connection:
    """The operations of a reply on its connection."""

    def __init__(self, exchange: _Exchange, closing: threading.Event) -> None:
        self._exchange = exchange
        self._closing = closing

    def write(self, data: bytes) -> None:
        self._exchange.wfile.write(data)

    def pause(self, seconds: float) -> None:
        """Waits; raises ConnectionAbortedError if the server is closed in the meantime."""
        if self._closing.wait(seconds):
            raise ConnectionAbortedError("the server is closing")

    def close(self) -> None:
        """Closes the connection after this exchange."""
        self._exchange.close_connection = True

    def drop(self) -> NoReturn:
        """Closes the connection immediately."""
        raise ConnectionAbortedError("dropped on purpose")

    def reset(self) -> NoReturn:
        """Closes the connection immediately with RST, as a crashed peer or a firewall would."""
        no_lingering = struct.pack("ii", 1, 0)
        raw = self._exchange.connection
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_lingering)
        # the files keep the socket open: unless all three are closed, FIN is sent first
        self._exchange.rfile.close()
        self._exchange.wfile.close()
        raw.close()
        self.drop()


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Listener

    def setup(self) -> None:
        # in the connection's own thread, so that a stalled handshake delays no other client
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        super().setup()

    def _exchange(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        url = self.server.base_url + self.path
        request = Request(self.command, url, self.path, self.headers, body)
        connection = Connection(self, self.server.closing)
        reply = self.server.answer(request, connection)
        if self.command == "HEAD":
            connection.write(reply.head(length=len(reply.body)))
        else:
            reply.send(reply, connection)

    # the base class looks methods up by these names
    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _exchange  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Does nothing: tests read `ScriptedCA.requests` instead."""


Answer = Callable[[Request, Connection], Reply]


class Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens on 127.0.0.1 at a free port, with TLS if a context is given.

    `answer` runs in the connection's thread; a ConnectionError that it raises ends the connection.
    """

    request_queue_size = 128
    # the threads of connections are joined on close
    daemon_threads = False
    block_on_close = True

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.answer = answer
        self.closing = threading.Event()
        self.connections_seen = 0
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        scheme = "https" if tls else "http"
        self.base_url = f"{scheme}://127.0.0.1:{self.server_address[1]}"
        self._accepting = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, name="scripted-ca"
        )

    def start(self) -> None:
        self._accepting.start()

    def close(self) -> None:
        self.closing.set()
        self.shutdown()
        self._accepting.join()
        with self._open_lock:
            for connection in self._open:
                _shut_down(connection)
        self.server_close()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._tls:
            connection = self._tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        with self._open_lock:
            self._open.add(connection)
            self.connections_seen += 1
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # disconnects, untrusted certificates and intentional drops all raise OSError
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def _shut_down(connection: socket.socket) -> None:
    try:
        # not SSLSocket's own, which would take the session from the thread that reads in it
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        return  # already closed
