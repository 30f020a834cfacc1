"""Visitors of the proxy: verified requests, one at a time or as a steady load."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

_TIMEOUT = 10.0


@dataclass(frozen=True)
class Visit:
    """What a visitor got: the status and the body, and the serial number of the certificate that
    was shown, in lower-case hexadecimal.
    """

    status: int
    body: str
    serial: str
    protocol: str


class Visitor:
    """One who trusts the CA's root alone, and finds every name at one port of this machine."""

    def __init__(self, root_file: str, port: int) -> None:
        self._context = ssl.create_default_context(cafile=root_file)
        self._port = port

    def visit(self, name: str) -> Visit:
        """Return the answer to a GET over a connection of its own. Raises OSError, for a
        certificate that is not to be trusted too, and `http.client.HTTPException`.
        """
        with closing(self.connection(name)) as connection:
            return ask(connection)

    def connection(self, name: str) -> http.client.HTTPConnection:
        """Return a connection whose handshake is done and verified."""
        connection = http.client.HTTPConnection(name, self._port, timeout=_TIMEOUT)
        plain = socket.create_connection(("127.0.0.1", self._port), _TIMEOUT)
        try:
            connection.sock = self._context.wrap_socket(plain, server_hostname=name)
        except OSError:
            plain.close()
            raise
        return connection


def ask(connection: http.client.HTTPConnection) -> Visit:
    """Send a GET over a connection that is open, and return what comes."""
    tls = connection.sock
    if not isinstance(tls, ssl.SSLSocket):
        raise http.client.NotConnected
    shown = tls.getpeercert() or {}
    protocol = tls.version() or ""
    connection.request("GET", "/")
    response = connection.getresponse()
    body = response.read().decode("utf-8", "replace").strip()
    serial = str(shown.get("serialNumber", "")).lower().lstrip("0")
    return Visit(response.status, body, serial, protocol)


class Load:
    """What a load has seen so far: requests that were answered, and those that were lost."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.answered = 0
        self.lost = 0
        self.serials: set[str] = set()

    def note(self, visit: Visit | None) -> None:
        """Count a visit; None for one that failed."""
        with self._lock:
            if visit is None or visit.status != http.client.OK:
                self.lost += 1
            else:
                self.answered += 1
                self.serials.add(visit.serial)


@contextmanager
def load(visitor: Visitor, names: tuple[str, ...]) -> Iterator[Load]:
    """Visit each name without a pause while the context lasts: over one connection that is kept,
    and over a new one each time.
    """
    seen, stop = Load(), threading.Event()

    def keep_one(name: str) -> None:
        try:
            with closing(visitor.connection(name)) as connection:
                while not stop.wait(0.002):
                    seen.note(ask(connection))
        except (OSError, http.client.HTTPException):
            seen.note(None)

    def always_new(name: str) -> None:
        while not stop.wait(0.002):
            try:
                seen.note(visitor.visit(name))
            except (OSError, http.client.HTTPException):
                seen.note(None)

    threads = [
        threading.Thread(target=work, args=(name,), daemon=True)
        for name in names
        for work in (keep_one, always_new)
    ]
    for each in threads:
        each.start()
    try:
        yield seen
    finally:
        stop.set()
        for each in threads:
            each.join()
