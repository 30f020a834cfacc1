"""Whether an HTTP-01 answer can be fetched at an address, as a CA would fetch it (RFC 8555 §8.3).

For `doctor`. Seen from this machine only: a router may treat the Internet another way.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

from certctl.challenges.http01 import PREFIX

SECONDS = 8.0
MAX_REDIRECTS = 10
_MAX_BYTES = 16 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class NotReached(Exception):
    """The answer did not come; the text says what did. `connected`: somebody listened there."""

    def __init__(self, reason: str, *, connected: bool) -> None:
        super().__init__(reason)
        self.connected = connected


def fetch_answer(
    address: str, host: str, token: str, expected: str, *, port: int = 80, seconds: float = SECONDS
) -> None:
    """Return where `expected` is what the path of `token` shows at `address`, asked for by the name
    `host`. Redirects are followed, as CAs do. Raises `NotReached`.
    """
    url = f"http://{host}{PREFIX}{token}"
    for _ in range(MAX_REDIRECTS + 1):
        place = _place(url, host, address, port)
        status, location, body = _get(url, place, seconds)
        if status in _REDIRECTS and location:
            url = urljoin(url, location)
            continue
        if status != 200:
            raise NotReached(f"{_short(url)} answers with status {status}", connected=True)
        if body.strip() != expected.encode("ascii"):
            raise NotReached(
                f"{_short(url)} answers with something else: another server, or another folder",
                connected=True,
            )
        return
    raise NotReached(f"more than {MAX_REDIRECTS} redirects", connected=True)


def _place(url: str, host: str, address: str, port: int) -> tuple[str, int]:
    """Return where to connect for a URL: what stays at the host stays at its address."""
    parts = urlsplit(url)
    try:
        given = parts.port
    except ValueError:
        given = 0
    if parts.scheme not in {"http", "https"} or not parts.hostname or given == 0:
        raise NotReached(f"a redirect leads to {_short(url)}, where no CA goes", connected=True)
    usual = 443 if parts.scheme == "https" else port
    where = address if parts.hostname == host.strip("[]") else parts.hostname
    return where, given or usual


def _get(url: str, place: tuple[str, int], seconds: float) -> tuple[int, str | None, bytes]:
    parts = urlsplit(url)
    connection: http.client.HTTPConnection = http.client.HTTPConnection(*place, timeout=seconds)
    try:
        connection.connect()
    except OSError as error:
        raise NotReached(f"port {place[1]}: {_said(error)}", connected=False) from error
    with _ended_after(connection, seconds):
        try:
            if parts.scheme == "https":
                connection.sock = _secured(connection.sock, parts.hostname)
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            headers = {"Host": parts.netloc, "User-Agent": "certctl-doctor", "Accept": "*/*"}
            connection.request("GET", target or "/", headers=headers)
            response = connection.getresponse()
            return response.status, response.getheader("Location"), response.read(_MAX_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise NotReached(f"{_short(url)}: {_said(error)}", connected=True) from error


def _secured(plain: socket.socket, host: str | None) -> ssl.SSLSocket:
    """Return the socket under TLS; CAs do not mind which certificate a redirect leads to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=host)


@contextmanager
def _ended_after(connection: http.client.HTTPConnection, seconds: float) -> Iterator[None]:
    """Close a connection at the end, or when its time is up, however slowly bytes drip in."""
    plain = connection.sock

    def end() -> None:
        try:
            plain.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        connection.close()
        plain.close()


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"no HTTP ({type(error).__name__})"


def _short(url: str) -> str:
    shown = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in url)
    return shown if len(shown) <= 100 else f"{shown[:100]}..."
