"""The application behind the proxy: it knows nothing of TLS, and says what reached it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with the host that was asked for, and how the visitor came."""
        came_by = self.headers.get("X-Forwarded-Proto", "http")
        body = f"{self.headers.get('Host', '')} by {came_by}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing: the demonstration tells what happens."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True


@contextmanager
def application() -> Iterator[int]:
    """Serve in plain HTTP at a free port of this machine, and give the port."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
