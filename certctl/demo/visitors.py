"""Visitors: HTTPS requests with a verified certificate, one at a time or as a continuous load."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

from certctl.model.lazy_dataclass import dataclass

_TIMEOUT = 10.0


@dataclass(frozen=True)
class Visit:
    """A response, with the certificate's serial number (lower-case hexadecimal) and the TLS
    version.
    """

    status: int
    body: str
    serial: str
    protocol: str


class Visitor:
    """A client that trusts only the demo CA and connects to one port of this machine for every
    name.
    """

    def __init__(self, root_file: str, port: int) -> None:
        self._context = ssl.create_default_context(cafile=root_file)
        self._port = port

    def visit(self, name: str) -> Visit:
        """Return the response to a GET over a new connection. Raises OSError (also for an
        untrusted certificate) and `http.client.HTTPException`.
        """
        with closing(self.connection(name)) as connection:
            return get(connection)

    def connection(self, name: str) -> http.client.HTTPConnection:
        """Return a connection after a successful TLS handshake."""
        connection = http.client.HTTPConnection(name, self._port, timeout=_TIMEOUT)
        plain = socket.create_connection(("127.0.0.1", self._port), _TIMEOUT)
        try:
            connection.sock = self._context.wrap_socket(plain, server_hostname=name)
        except OSError:
            plain.close()
            raise
        return connection


def get(connection: http.client.HTTPConnection) -> Visit:
    """Send a GET over an open connection and return the response."""
    tls = connection.sock
    if not isinstance(tls, ssl.SSLSocket):
        raise http.client.NotConnected
    certificate = tls.getpeercert() or {}
    protocol = tls.version() or ""
    connection.request("GET", "/")
    response = connection.getresponse()
    body = response.read().decode("utf-8", "replace").strip()
    serial = str(certificate.get("serialNumber", "")).lower().lstrip("0")
    return Visit(response.status, body, serial, protocol)


class Load:
    """Counters of a load: requests that were answered and requests that were lost."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.answered = 0
        self.lost = 0
        self.serials: set[str] = set()

    def note(self, visit: Visit | None) -> None:
        """Count a visit; None means that it failed."""
        with self._lock:
            if visit is None or visit.status != http.client.OK:
                self.lost += 1
            else:
                self.answered += 1
                self.serials.add(visit.serial)


@contextmanager
def load(visitor: Visitor, names: tuple[str, ...]) -> Iterator[Load]:
    """Send requests for each name continuously while the context lasts, over one persistent
    connection and over a new connection each time.
    """
    seen, stop = Load(), threading.Event()

    def persistent(name: str) -> None:
        try:
            with closing(visitor.connection(name)) as connection:
                while not stop.wait(0.002):
                    seen.note(get(connection))
        except (OSError, http.client.HTTPException):
            seen.note(None)

    def reconnecting(name: str) -> None:
        while not stop.wait(0.002):
            try:
                seen.note(visitor.visit(name))
            except (OSError, http.client.HTTPException):
                seen.note(None)

    threads = [
        threading.Thread(target=work, args=(name,), daemon=True)
        for name in names
        for work in (persistent, reconnecting)
    ]
    for each in threads:
        each.start()
    try:
        yield seen
    finally:
        stop.set()
        for each in threads:
            each.join()
