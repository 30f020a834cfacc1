"""An adapter for `requests` under which every answer is bounded, in bytes and in seconds.

`requests` applies its read timeout to each `recv`, so that a server which sends one byte now and
then holds a client for ever, and it bounds nothing that it reads. Under `BoundedAdapter` the read
timeout holds for the whole answer, status line to last byte, and an answer has a largest size. The
bound lies at the socket, below the parsing of headers and chunks: nothing above can forget it.

The adapter also keeps one TLS context for all its connections, since reading a public list of roots
takes longer (25 ms) than many a CA's answer, and requests reads it again for each.

No word of ACME here, and no retries. Time is the kernel's, not a `Clock`'s: a clock that stands
still would never end a read.
"""

from __future__ import annotations

import http.client
import io
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from _typeshed import WriteableBuffer
    from requests import PreparedRequest, Response
    from urllib3 import PoolManager

MAX_BYTES = 1024 * 1024
"""The largest answer, headers included. A chain of ten certificates has 20 kB."""


class ResponseLimitExceeded(Exception):
    """An answer was cut off since it is too large, too slow, or compressed; the text says which."""


class RequestFailed(Exception):
    """A request got no answer; the text says why, and shows nothing of the URL, which may hold a
    secret.
    """


class _BoundedSocket(io.RawIOBase):
    """The bytes that arrive at a socket, until too many or too late. The socket's time limit, as
    it is at the start, is taken as the limit for everything.
    """

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._socket = sock
        self._raw = raw
        self._limit = sock.gettimeout()
        self._start = time.monotonic()
        self._received = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        if self._limit is not None:
            left = self._limit - (time.monotonic() - self._start)
            if left <= 0:
                raise self._too_slow()
            self._socket.settimeout(left)
        try:
            count = self._raw.readinto(buffer)
        except TimeoutError:
            if self._received:
                raise self._too_slow() from None
            raise
        self._received += count or 0
        if self._received > MAX_BYTES:
            raise ResponseLimitExceeded(f"it is larger than {MAX_BYTES // 1024} KiB")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()

    def _too_slow(self) -> ResponseLimitExceeded:
        return ResponseLimitExceeded(f"it was not complete after {self._limit:g} s")


class _BoundedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_BoundedSocket(sock, self.fp.detach()))


class _BoundedConnection(HTTPConnection):
    response_class = _BoundedResponse


class _BoundedTlsConnection(HTTPSConnection):
    response_class = _BoundedResponse


class _BoundedPool(HTTPConnectionPool):
    ConnectionCls = _BoundedConnection


class _BoundedTlsPool(HTTPSConnectionPool):
    ConnectionCls = _BoundedTlsConnection


class BoundedAdapter(HTTPAdapter):
    """Mount it on a `requests.Session`; where a bound is passed, its requests raise
    `ResponseLimitExceeded`.

    Servers are verified by the roots in the PEM file `roots`, whatever `verify` or an environment
    variable says. Raises OSError where that file cannot be read. Ask for `Accept-Encoding:
    identity`: an answer that is compressed all the same is refused, since its size says nothing of
    what it would become.
    """

    def __init__(self, roots: str, *, connections_kept: int) -> None:
        self._tls = ssl.create_default_context(cafile=roots)
        super().__init__(pool_maxsize=connections_kept)

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any
    ) -> None:
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._tls, **pool_kwargs)
        _bound(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, ssl_context=self._tls, **proxy_kwargs)
        _bound(manager)
        return manager

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the connection as it is: the TLS context has the roots, and insists on them."""

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,  # noqa: ARG002 - decided by the TLS context, for good
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        response: Response = super().send(request, stream, timeout, True, cert, proxies)
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            response.close()
            raise ResponseLimitExceeded("it is compressed, which was not asked for")
        return response


def _bound(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _BoundedPool, "https": _BoundedTlsPool}


@dataclass(frozen=True)
class Answer:
    """A whole answer: its status with the words for it, its body, and its Retry-After."""

    status: int
    reason: str
    body: str = field(repr=False)
    retry_after: str | None = None


def ping(
    url: str, *, method: str, user_agent: str, seconds: float, roots: str | None = None
) -> int:
    """Send one request without a body, and return the status of its answer, whatever that says.

    It takes `seconds` at most; no redirect is followed, and of the environment only proxies count.
    Raises `RequestFailed`; also where the URL cannot be meant, or the PEM file `roots` cannot be
    read.
    """
    headers = {"User-Agent": user_agent}
    return _send(requests.Request(method, url, headers=headers), seconds, roots).status


def post_json(
    url: str,
    document: object,
    *,
    headers: Mapping[str, str],
    user: tuple[str, str] | None,
    seconds: float,
    roots: str | None = None,
) -> Answer:
    """Post a document, as `user` (name and password) where there is one, and return the answer.

    Bounded as `ping` is, and raises what it raises; no secret is in that.
    """
    request = requests.Request("POST", url, headers=dict(headers), json=document, auth=user)
    return _send(request, seconds, roots)


def _send(request: requests.Request, seconds: float, roots: str | None) -> Answer:
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Accept-Encoding"] = "identity"
        try:
            adapter = BoundedAdapter(roots or DEFAULT_CA_BUNDLE_PATH, connections_kept=1)
            for scheme in ("https://", "http://"):
                session.mount(scheme, adapter)
            with session.send(
                session.prepare_request(request),
                timeout=seconds,
                allow_redirects=False,
                proxies=get_environ_proxies(request.url),
            ) as answer:
                return Answer(
                    answer.status_code,
                    answer.reason or "",
                    answer.text,
                    answer.headers.get("Retry-After"),
                )
        except (
            requests.RequestException,
            HTTPError,
            ResponseLimitExceeded,
            OSError,
            ValueError,
        ) as error:
            raise RequestFailed(_first_cause(error)) from None


def _first_cause(error: BaseException) -> str:
    """Return what the system said first, in words that have no URL in them."""
    for _ in range(10):
        nested = (error.__cause__, getattr(error, "reason", None), *error.args, error.__context__)
        deeper = next((each for each in nested if isinstance(each, BaseException)), None)
        if deeper is None:
            break
        error = deeper
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}"
        case ResponseLimitExceeded():
            return str(error)
        case TimeoutError():
            return "it took too long"
        case OSError() if error.strerror:
            return error.strerror
        case requests.RequestException() | ValueError():
            return "its URL cannot be used"
    return type(error).__name__
