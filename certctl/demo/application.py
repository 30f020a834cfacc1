"""The application behind the proxy: a plain HTTP server that echoes the host and protocol."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with the requested host and the protocol that the visitor used."""
        protocol = self.headers.get("X-Forwarded-Proto", "http")
        body = f"{self.headers.get('Host', '')} by {protocol}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Print nothing; the demo reports what happens."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True


@contextmanager
def application() -> Iterator[int]:
    """Serve plain HTTP on a free port of this machine; yield the port."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
