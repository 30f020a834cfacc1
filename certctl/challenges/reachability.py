"""Checks an answer at an address in the same way as a CA: HTTP-01 (RFC 8555 §8.3) and TLS-ALPN-01
(RFC 8737 §3).

For `doctor`. The checks connect from this machine; connections from the Internet may be routed
differently.
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
from certctl.model.identifiers import Identifier
from certctl.model.text import printable
from certctl.rules.validation_certificate import (
    is_answer,
    server_name,
)

SECONDS = 8.0
MAX_REDIRECTS = 10
_ALPN = "acme-tls/1"
_MAX_BYTES = 16 * 1024
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_EXEMPT = (
    f"Exempt {PREFIX} from it; `certctl snippet nginx NAME` (or apache, haproxy …) prints the lines"
    " for the server."
)
_REDIRECT_FIX = f"The server redirects all requests. {_EXEMPT}"
_STATUS_FIXES = {
    401: f"The server asks for a password. {_EXEMPT}",
    403: f"The server refuses the request. {_EXEMPT}",
}


class NotReached(Exception):
    """The check failed; the text states why. `connected`: a connection was established.
    `no_route`: this machine cannot reach any address of that family. `fix`: what corrects it, if
    that is known. `body`: what was answered in place of the response.
    """

    def __init__(
        self,
        reason: str,
        *,
        connected: bool,
        no_route: bool = False,
        fix: str | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(reason)
        self.connected = connected
        self.no_route = no_route
        self.fix = fix
        self.body = body


def check_http_answer(
    address: str, host: str, token: str, expected: str, *, port: int = 80, seconds: float = SECONDS
) -> None:
    """Return if an HTTP request for `token` on `host`, sent to `address`, returns `expected`.
    Redirects are followed, as by CAs. Raises `NotReached` otherwise.
    """
    url = first = f"http://{host}{PREFIX}{token}"
    for _ in range(MAX_REDIRECTS + 1):
        socket_address = _socket_address(url, host, address, port)
        try:
            status, location, body = _get(url, socket_address, seconds)
            if not (status in _REDIRECTS and location):
                _check_answer(url, status, body, expected)
                return
        except NotReached as error:
            if url == first:
                raise
            raise _redirected(first, error) from error
        url = urljoin(url, location)
    raise NotReached(f"more than {MAX_REDIRECTS} redirects", connected=True)


def _redirected(first: str, error: NotReached) -> NotReached:
    """Return the error for a request that was redirected to where the answer is not; the server
    itself was reached.
    """
    message = f"{_short(first)} is redirected, and {error}"
    return NotReached(message, connected=True, fix=_REDIRECT_FIX)


def _check_answer(url: str, status: int, body: bytes, expected: str) -> None:
    if status != 200:
        fix = _STATUS_FIXES.get(status)
        raise NotReached(f"{_short(url)} returns status {status}", connected=True, fix=fix)
    if body.strip() != expected.encode("ascii"):
        raise NotReached(
            f"{_short(url)} returns other content: from another server or directory",
            connected=True,
            body=body.strip(),
        )


def check_tls_alpn_answer(
    address: str,
    identifier: Identifier,
    expected: str,
    *,
    port: int = 443,
    seconds: float = SECONDS,
) -> None:
    """Return if the certificate that `address` presents to a CA validating `identifier` contains
    the digest of `expected`. Raises `NotReached` otherwise.
    """
    connection = _connect((address, port), seconds)
    with _closed_after(connection, seconds):
        try:
            with _tls(connection, server_name(identifier), [_ALPN]) as tls:
                protocol = tls.selected_alpn_protocol()
                certificate = tls.getpeercert(binary_form=True) or b""
        except OSError as error:
            raise NotReached(f"port {port}: {_reason(error)}", connected=True) from error
    if protocol != _ALPN or not is_answer(certificate, expected):
        raise NotReached(
            f"port {port} presents another certificate: another server listens there",
            connected=True,
        )


def _socket_address(url: str, host: str, address: str, port: int) -> tuple[str, int]:
    """Return the socket address for a URL: `address` if the URL's host is `host`."""
    parts = urlsplit(url)
    try:
        given = parts.port
    except ValueError:
        given = 0
    if parts.scheme not in {"http", "https"} or not parts.hostname or given == 0:
        raise NotReached(f"CAs do not follow the redirect to {_short(url)}", connected=True)
    usual = 443 if parts.scheme == "https" else port
    where = address if parts.hostname == host.strip("[]") else parts.hostname
    return where, given or usual


def _get(
    url: str, socket_address: tuple[str, int], seconds: float
) -> tuple[int, str | None, bytes]:
    parts = urlsplit(url)
    tcp = _connect(socket_address, seconds)
    connection = http.client.HTTPConnection(*socket_address, timeout=seconds)
    with _closed_after(tcp, seconds):
        try:
            connection.sock = _tls(tcp, parts.hostname) if parts.scheme == "https" else tcp
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            headers = {"Host": parts.netloc, "User-Agent": "certctl-doctor", "Accept": "*/*"}
            connection.request("GET", target or "/", headers=headers)
            response = connection.getresponse()
            return response.status, response.getheader("Location"), response.read(_MAX_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise NotReached(f"{_short(url)}: {_reason(error)}", connected=True) from error
        finally:
            connection.close()


def _connect(socket_address: tuple[str, int], seconds: float) -> socket.socket:
    try:
        return socket.create_connection(socket_address, timeout=seconds)
    except OSError as error:
        reason = f"port {socket_address[1]}: {_reason(error)}"
        no_route = error.errno in _NO_ROUTE
        raise NotReached(reason, connected=False, no_route=no_route) from error


def _tls(
    connection: socket.socket, host: str | None, protocols: Sequence[str] = ()
) -> ssl.SSLSocket:
    """Return the TLS connection; like a CA, do not verify the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    return context.wrap_socket(connection, server_hostname=host)


@contextmanager
def _closed_after(connection: socket.socket, seconds: float) -> Iterator[None]:
    """Close the connection on exit, or after `seconds` even if data is still arriving slowly."""

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


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ssl.SSLError):
        return f"the TLS handshake failed ({(error.reason or 'unknown reason').lower()})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"not an HTTP response ({type(error).__name__})"


def _short(url: str) -> str:
    return printable(url, 100)
