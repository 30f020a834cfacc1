"""Whether an answer can be seen at an address, as a CA would look at it: HTTP-01 (RFC 8555 §8.3)
and TLS-ALPN-01 (RFC 8737 §3).

For `doctor`. Seen from this machine only: a router may treat the Internet another way.
"""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

from certctl.challenges.http01 import PREFIX
from certctl.models import Identifier

SECONDS = 8.0
MAX_REDIRECTS = 10
_ALPN = "acme-tls/1"
_MAX_BYTES = 16 * 1024
_NO_WAY = frozenset({errno.ENETUNREACH, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class NotReached(Exception):
    """The answer did not come; the text says what did. `connected`: somebody listened there;
    `no_route`: this machine cannot reach addresses of that kind at all.
    """

    def __init__(self, reason: str, *, connected: bool, no_route: bool = False) -> None:
        super().__init__(reason)
        self.connected = connected
        self.no_route = no_route


def check_http_answer(
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
                f"{_short(url)} answers with something else: another server, or another directory",
                connected=True,
            )
        return
    raise NotReached(f"more than {MAX_REDIRECTS} redirects", connected=True)


def check_tls_alpn_answer(
    address: str,
    identifier: Identifier,
    expected: str,
    *,
    port: int = 443,
    seconds: float = SECONDS,
) -> None:
    """Return where the certificate that is shown at `address` to a CA that asks for `identifier`
    has the digest of `expected` in it. Raises `NotReached`.
    """
    from certctl.validation_certificate import (  # noqa: PLC0415 - cryptography is slow to import
        is_answer,
        server_name,
    )

    plain = _connected((address, port), seconds)
    with _ended_after(plain, seconds):
        try:
            with _secured(plain, server_name(identifier), [_ALPN]) as secured:
                spoken = secured.selected_alpn_protocol()
                shown = secured.getpeercert(binary_form=True) or b""
        except OSError as error:
            raise NotReached(f"port {port}: {_said(error)}", connected=True) from error
    if spoken != _ALPN or not is_answer(shown, expected):
        raise NotReached(
            f"port {port} shows another certificate: another server listens there", connected=True
        )


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
    plain = _connected(place, seconds)
    connection = http.client.HTTPConnection(*place, timeout=seconds)
    with _ended_after(plain, seconds):
        try:
            secured = parts.scheme == "https"
            connection.sock = _secured(plain, parts.hostname) if secured else plain
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            headers = {"Host": parts.netloc, "User-Agent": "certctl-doctor", "Accept": "*/*"}
            connection.request("GET", target or "/", headers=headers)
            response = connection.getresponse()
            return response.status, response.getheader("Location"), response.read(_MAX_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise NotReached(f"{_short(url)}: {_said(error)}", connected=True) from error
        finally:
            connection.close()


def _connected(place: tuple[str, int], seconds: float) -> socket.socket:
    try:
        return socket.create_connection(place, timeout=seconds)
    except OSError as error:
        reason = f"port {place[1]}: {_said(error)}"
        no_route = error.errno in _NO_WAY
        raise NotReached(reason, connected=False, no_route=no_route) from error


def _secured(
    plain: socket.socket, host: str | None, protocols: Sequence[str] = ()
) -> ssl.SSLSocket:
    """Return the socket under TLS; CAs do not mind whom a certificate is from."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    return context.wrap_socket(plain, server_hostname=host)


@contextmanager
def _ended_after(connection: socket.socket, seconds: float) -> Iterator[None]:
    """Close a connection at the end, or when its time is up, however slowly bytes drip in."""

    def end() -> None:
        try:
            connection.shutdown(socket.SHUT_RDWR)
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


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ssl.SSLError):
        return f"the TLS handshake failed ({(error.reason or 'no reason').lower()})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"no HTTP ({type(error).__name__})"


def _short(url: str) -> str:
    shown = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in url)
    return shown if len(shown) <= 100 else f"{shown[:100]}..."
