"""The HTTPS server: the standard library's threading server, with limits. Knows nothing of ACME.

Each connection has a thread, which also performs the TLS handshake, so a client that stalls in the
handshake delays no other. (That is why cheroot is not used: in version 11 such a client blocks new
connections for ten seconds, and its throughput is the same.)
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import ssl
import sys
import threading
import traceback
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Self

from certctl.devca.problems import Problem
from certctl.devca.wire import PROBLEM_JSON, Reply, Request, json_reply
from certctl.version import VERSION

BODY_BYTES = 256 * 1024
IDLE_SECONDS = 60.0
_MAX_DISCARDED = 16 * BODY_BYTES
_DRIP_BYTES = 16
_JOIN_SECONDS = 5.0
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(:\d{1,5})?\Z")

Answer = Callable[[Request], Reply]
Report = Callable[[str], None]


class Listener(ThreadingHTTPServer):
    """Serves `answer` until `stop`; unexpected errors in a connection's thread go to `report`."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(
        self, address: tuple[str, int], context: ssl.SSLContext, answer: Answer, report: Report
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.answer = answer
        self.stopping = threading.Event()
        self._context = context
        self._report = report
        self._guard = threading.Lock()
        self._open: dict[threading.Thread, Any] = {}
        super().__init__(address, _Connection)
        self._thread = threading.Thread(target=self._serve, name="dev-ca", daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def start(self) -> Self:
        """Start serving in a thread."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening, close every connection, and wait for their threads."""
        self.stopping.set()
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()
        with self._guard:
            left = dict(self._open)
        for connection in left.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in left:
            thread.join(_JOIN_SECONDS)

    def _serve(self) -> None:
        self.serve_forever(poll_interval=0.05)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # not HTTPServer's, which resolves the host name

    def get_request(self) -> tuple[Any, Any]:
        accepted, address = self.socket.accept()
        accepted.settimeout(IDLE_SECONDS)
        # the handshake waits for the first read, in the connection's own thread
        secured = self._context.wrap_socket(
            accepted, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
        )
        return secured, address

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        thread = threading.current_thread()
        with self._guard:
            self._open[thread] = request
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._guard:
                self._open.pop(thread, None)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        # a client that disconnects, or does not speak TLS, is not a server error
        if not isinstance(sys.exception(), OSError):
            self._report(traceback.format_exc())


class _Connection(BaseHTTPRequestHandler):
    """One connection, with one request after another."""

    server: Listener
    protocol_version = "HTTP/1.1"
    server_version = f"certctl-dev-ca/{VERSION}"
    sys_version = ""
    wbufsize = 65536
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS

    def do_POST(self) -> None:
        self._respond(self._read_body())

    def do_GET(self) -> None:
        self._respond(self._read_body())

    do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_GET  # noqa: N815 - the base's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Do nothing: the CA has its own request log."""

    def send_error(
        self,
        code: int,
        message: str | None = None,
        explain: str | None = None,  # noqa: ARG002 - the base's signature
    ) -> None:
        # errors that the library detects, such as an invalid request line
        status = 405 if code == HTTPStatus.NOT_IMPLEMENTED else int(code)
        self.close_connection = True
        self.command = getattr(self, "command", None) or "GET"
        self.request_version = getattr(self, "request_version", "HTTP/1.1")
        detail = message or HTTPStatus(status).phrase
        self._send(_refusal(Problem("malformed", detail, status=status)))

    def _read_body(self) -> bytes | Reply:
        length = self.headers.get("Content-Length", "0" if self.command != "POST" else "")
        if self.headers.get("Transfer-Encoding") or not length:
            self.close_connection = True
            return _refusal(Problem("malformed", "a Content-Length is required", status=411))
        if not (length.isascii() and length.isdigit()) or len(length) > 18:
            self.close_connection = True
            return _refusal(Problem("malformed", "the Content-Length is not a number"))
        if int(length) > BODY_BYTES:
            self.close_connection = True
            self._discard(int(length))
            detail = f"a body may have at most {BODY_BYTES} bytes"
            return _refusal(Problem("malformed", detail, status=413))
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            raise ConnectionResetError("the client disconnected before the end of the body")
        return body

    def _discard(self, length: int) -> None:
        """Read and discard the body, within limits: a client reads no response while it sends."""
        left = min(length, _MAX_DISCARDED)
        while left > 0 and (part := self.rfile.read(min(left, BODY_BYTES))):
            left -= len(part)

    def _respond(self, body: bytes | Reply) -> None:
        if isinstance(body, Reply):
            self._send(body)
            return
        host = self.headers.get("Host", "")
        if _HOST.match(host) is None:
            self._send(_refusal(Problem("malformed", "the Host header is not valid")))
            return
        self._send(
            self.server.answer(
                Request(
                    method=self.command,
                    base=f"https://{host}",
                    target=self.path,
                    headers={name.lower(): value for name, value in self.headers.items()},
                    body=body,
                    from_loopback=ipaddress.ip_address(self.client_address[0]).is_loopback,
                )
            )
        )

    def _send(self, reply: Reply) -> None:
        if reply.lost:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        if reply.status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(reply.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(reply)
        self.wfile.flush()

    def _send_body(self, reply: Reply) -> None:
        if not reply.drip:
            self.wfile.write(reply.body)
            return
        for start in range(0, len(reply.body), _DRIP_BYTES):
            self.wfile.write(reply.body[start : start + _DRIP_BYTES])
            self.wfile.flush()
            if self.server.stopping.wait(reply.drip):
                self.close_connection = True
                return


def _refusal(problem: Problem) -> Reply:
    return json_reply(problem.status, problem.document(), media=PROBLEM_JSON)
