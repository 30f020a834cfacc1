"""An adapter for `requests` that limits every response, in bytes and in seconds.

`requests` applies its read timeout to each `recv`, so a server that sends one byte now and then can
block a client indefinitely, and it does not limit the size of a response. With `BoundedAdapter`,
the read timeout applies to the whole response, from the status line to the last byte, and a
response has a maximum size. The limits are enforced at the socket, below the parsing of headers and
chunks, so that they apply to every read.

The adapter also uses one TLS context for all its connections. Reading the public root certificates
takes 25 ms, longer than many responses, and `requests` reads them again for each connection.

This module knows nothing about ACME and does not retry. It uses the system's time, not a `Clock`,
since a read would never end with a test clock that does not advance.
"""

from __future__ import annotations

import http.client
import io
import math
import ssl
import time
from contextlib import closing
from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from certctl.model.ca import OpenedConnection, Proxy
from certctl.model.errors import ConfigurationError
from certctl.model.lazy_dataclass import dataclass
from certctl.system.early_connection import tls_context
from certctl.system.proxy import proxies_for

if TYPE_CHECKING:
    import socket
    import threading
    from collections.abc import Mapping

    from _typeshed import WriteableBuffer
    from requests import PreparedRequest, Response

MAX_BYTES = 1024 * 1024
"""Maximum size of a response with its headers. A chain of ten certificates has 20 kB."""


OUTSIDE_VALIDITY = frozenset({9, 10})
"""OpenSSL's codes for a certificate that is not yet valid, or has expired."""

_STOP_SECONDS = 0.25
"""How often a request that waits for its response checks whether the run is to stop."""


class RequestStopped(Exception):
    """A request was aborted because the run is to stop."""


class ResponseLimitExceeded(Exception):
    """A response was aborted; the message says whether it is too large, too slow or compressed."""


class RequestFailed(Exception):
    """A request got no response. The message has the reason, but not the URL, which may contain a
    secret.
    """


class _BoundedSocket(io.RawIOBase):
    """Reads from a socket until the size or time limit is exceeded, or `stop` is set. The socket's
    timeout at the start is the limit for the whole response.
    """

    def __init__(
        self, sock: socket.socket, raw: io.RawIOBase, stop: threading.Event | None
    ) -> None:
        self._socket = sock
        self._raw = raw  # closed with this object, but not read: it allows no read after a timeout
        self._limit = sock.gettimeout()
        self._start = time.monotonic()
        self._received = 0
        self._stop = stop

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        count = None
        while count is None:
            self._socket.settimeout(self._seconds())
            try:
                count = self._socket.recv_into(buffer)
            except TimeoutError:
                if self._stop is not None and self._stop.is_set():
                    raise RequestStopped from None
                if self._left() <= 0 and not self._received:
                    raise
        self._received += count
        if self._received > MAX_BYTES:
            raise ResponseLimitExceeded(f"it is larger than {MAX_BYTES // 1024} KiB")
        return count

    def _left(self) -> float:
        if self._limit is None:
            return math.inf
        return self._limit - (time.monotonic() - self._start)

    def _seconds(self) -> float | None:
        """Return how long the next read may take."""
        left = self._left()
        if left <= 0:
            raise self._too_slow()
        if self._stop is not None:
            return min(left, _STOP_SECONDS)
        return None if self._limit is None else left

    def close(self) -> None:
        self._raw.close()
        super().close()

    def _too_slow(self) -> ResponseLimitExceeded:
        return ResponseLimitExceeded(f"it was not complete after {self._limit:g} s")


class _BoundedResponse(http.client.HTTPResponse):
    def __init__(
        self, sock: socket.socket, *args: Any, stop: threading.Event | None, **kwargs: Any
    ) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_BoundedSocket(sock, self.fp.detach(), stop))


class _Stoppable(HTTPConnection):
    """A connection whose requests end when the run is stopped, except for those sent afterwards:
    these are for cleanup. Headers and body are sent together: one TLS record, one packet.
    """

    stop: threading.Event | None = None
    _unsent: list[bytes] | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        parts: list[bytes] = []
        self._unsent = parts
        try:
            super().request(*args, **kwargs)
        finally:
            self._unsent = None
        self.send(b"".join(parts))

    def send(self, data: Any) -> None:
        if self._unsent is not None and isinstance(data, bytes):
            self._unsent.append(data)
        else:
            super().send(data)

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        stop = None if self.stop is None or self.stop.is_set() else self.stop
        created: Any = partial(_BoundedResponse, stop=stop)
        self.response_class = created
        super().putrequest(*args, **kwargs)


def _pool_classes(
    stop: threading.Event | None, opened: OpenedConnection | None
) -> dict[str, type[HTTPConnectionPool]]:
    """Return urllib3's connection pools with bounded responses, which it creates by these classes
    only. The first connection to its server is the one that is `opened` already.
    """
    event = stop

    class BoundedConnection(_Stoppable):
        stop = event

    class BoundedTlsConnection(_Stoppable, HTTPSConnection):
        stop = event

        def connect(self) -> None:
            direct = opened is not None and self.proxy is None
            found = opened.take(self.host, self.port or 443) if opened and direct else None
            if found is None:
                super().connect()
            else:
                self.sock, self.is_verified = found, True

    class BoundedPool(HTTPConnectionPool):
        ConnectionCls = BoundedConnection

    class BoundedTlsPool(HTTPSConnectionPool):
        ConnectionCls = BoundedTlsConnection

    return {"http": BoundedPool, "https": BoundedTlsPool}


class BoundedAdapter(HTTPAdapter):
    """Mount it on a `requests.Session`. Requests raise `ResponseLimitExceeded` if a limit is
    exceeded.

    Servers are verified with the root certificates in the PEM file `roots`, regardless of `verify`
    and of environment variables; None means the public root certificates and those that this system
    trusts. Raises OSError if that file cannot be read. Send
    `Accept-Encoding: identity`: a compressed response is rejected, since its decompressed size is
    not limited. Setting `stop` ends a request that is waiting for its response with
    `RequestStopped`. `opened` is a connection that was opened with the same roots, if any.
    """

    def __init__(
        self,
        roots: str | None,
        *,
        connections_kept: int,
        stop: threading.Event | None = None,
        opened: OpenedConnection | None = None,
    ) -> None:
        self._tls = tls_context(roots)
        self._pool_classes = _pool_classes(stop, opened)
        self._pools: dict[str, Any] = {}
        super().__init__(pool_maxsize=connections_kept)

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any
    ) -> None:
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._tls, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pool_classes

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, ssl_context=self._tls, **proxy_kwargs)
        manager.pool_classes_by_scheme = self._pool_classes
        return manager

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Do nothing: the TLS context already verifies servers with `roots`."""

    # Without a proxy, these three do only what is needed: no settings of single requests, and no
    # cookies. They took a fifth of the processor time of a request.

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        if proxies:
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        server = "/".join((request.url or "").split("/", 3)[:3])
        pool = self._pools.get(server)
        if pool is None or pool.pool is None:  # closed
            found = super().get_connection_with_tls_context(request, verify, proxies, cert)
            self._pools[server] = pool = found
        return pool

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        return super().request_url(request, proxies) if proxies else request.path_url

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        response = requests.Response()
        response.status_code, response.reason = resp.status, resp.reason
        response.headers = CaseInsensitiveDict(resp.headers)
        response.raw, response.request, response.url = resp, req, req.url or ""
        return response

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,  # noqa: ARG002 - always decided by the TLS context
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        response: Response = super().send(request, stream, timeout, True, cert, proxies)
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            response.close()
            raise ResponseLimitExceeded("it is compressed, although compression was not accepted")
        return response


@dataclass(frozen=True)
class HttpResponse:
    """A complete response: status code, reason phrase, body, and Retry-After header."""

    status: int
    reason: str
    content: bytes = field(repr=False)
    retry_after: str | None = None

    @property
    def body(self) -> str:
        """The content as text, whatever charset the server names: decoding can take seconds."""
        return self.content.decode("utf-8", errors="replace")


def ping(
    url: str,
    *,
    method: str,
    user_agent: str,
    seconds: float,
    roots: str | None = None,
    proxy: Proxy | None = None,
) -> int:
    """Send one request without a body and return the status code of the response, whose body is
    ignored.

    It takes at most `seconds`. Redirects are not followed, and only proxy variables are taken from
    the environment, unless `proxy` is given.
    Raises `RequestFailed`, also if the URL is not valid or the PEM file `roots` cannot be read.
    """
    headers = {"User-Agent": user_agent}
    request = requests.Request(method, url, headers=headers)
    return _send(request, seconds, roots, proxy, with_body=False).status


def post_json(
    url: str,
    document: object,
    *,
    headers: Mapping[str, str],
    user: tuple[str, str] | None,
    seconds: float,
    roots: str | None = None,
    proxy: Proxy | None = None,
) -> HttpResponse:
    """Send a JSON document by POST and return the response. `user` is a name and a password for
    basic authentication.

    Has the limits of `ping` and raises the same errors, which contain no secret.
    """
    request = requests.Request("POST", url, headers=dict(headers), json=document, auth=user)
    return _send(request, seconds, roots, proxy)


def fetch(
    url: str,
    *,
    data: bytes | None = None,
    headers: Mapping[str, str],
    seconds: float,
    roots: str | None = None,
    proxy: Proxy | None = None,
) -> bytes:
    """Return what a server sends for a GET, or for a POST of `data`.

    Has the limits of `ping` and raises the same errors, and one for a status other than 200.
    """
    request = requests.Request("GET" if data is None else "POST", url, dict(headers), data=data)
    response = _send(request, seconds, roots, proxy)
    if response.status != requests.codes.ok:
        raise RequestFailed(f"HTTP {response.status}")
    return response.content


def unverified_date(url: str, *, seconds: float, stop: threading.Event | None) -> str | None:
    """Return the `Date` header of a server whose certificate is not verified, to find out whether
    this machine's clock is wrong; None if there is none. Nothing else may depend on it, and the
    request contains nothing but the URL's host.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        parts = urlsplit(url)
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=seconds, context=context
        )
        created: Any = partial(_BoundedResponse, stop=stop)
        connection.response_class = created
        with closing(connection):
            connection.request("HEAD", "/")
            return connection.getresponse().headers.get("Date")
    except (OSError, http.client.HTTPException, ResponseLimitExceeded, RequestStopped, ValueError):
        return None


def _send(
    request: requests.Request,
    seconds: float,
    roots: str | None,
    proxy: Proxy | None,
    *,
    with_body: bool = True,
) -> HttpResponse:
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Accept-Encoding"] = "identity"
        try:
            adapter = BoundedAdapter(roots, connections_kept=1)
            for scheme in ("https://", "http://"):
                session.mount(scheme, adapter)
            with session.send(
                session.prepare_request(request),
                timeout=seconds,
                allow_redirects=False,
                stream=True,  # the body is read below, if at all
                proxies=dict(proxies_for(request.url, proxy or Proxy())),
            ) as response:
                return HttpResponse(
                    response.status_code,
                    response.reason or "",
                    response.content if with_body else b"",
                    response.headers.get("Retry-After"),
                )
        except ConfigurationError as error:
            raise RequestFailed(error.message) from None
        except (
            requests.RequestException,
            HTTPError,
            ResponseLimitExceeded,
            OSError,
            ValueError,
        ) as error:
            raise RequestFailed(_root_cause(error)) from None


def _root_cause(error: BaseException) -> str:
    """Return a message for the root cause, without the URL."""
    for _ in range(10):
        nested = (error.__cause__, getattr(error, "reason", None), *error.args, error.__context__)
        deeper = next((each for each in nested if isinstance(each, BaseException)), None)
        if deeper is None:
            break
        error = deeper
    match error:
        case ssl.SSLCertVerificationError() if error.verify_code in OUTSIDE_VALIDITY:
            return f"{error.verify_message}, by the clock of this machine"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}"
        case ResponseLimitExceeded():
            return str(error)
        case TimeoutError():
            return "it took too long"
        case OSError() if error.strerror:
            return error.strerror
        case requests.RequestException() | ValueError():
            return "its URL is not valid"
    return type(error).__name__
