"""Turns failed requests (refused connections, timeouts, TLS errors, bad URLs) into certctl's
errors.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import NewConnectionError

from certctl.ca.problems import Resource
from certctl.errors import AcmeError, BadResponse, CaUnavailable
from certctl.text import printable

NEVER_SENT = "acme.unreachable"
"""The code of an error after which the CA cannot have acted, because the request was never sent."""

TLS_FAILED = "acme.tls"
"""The code of an error for a server whose TLS certificate is not trusted."""


def connection_error(error: Exception, url: str, resource: Resource) -> AcmeError:
    """Return the error for what `requests` or urllib3 raised for a request to `url`."""
    host = urlsplit(url).netloc
    causes = tuple(_causes(error))
    tls_error = next((one for one in causes if isinstance(one, ssl.SSLCertVerificationError)), None)
    if tls_error is not None:
        return AcmeError(
            f"the TLS certificate of {host} is not trusted: {tls_error.verify_message}",
            hint="If it is a private CA, pass its root certificates with --ca-bundle FILE.",
            code=TLS_FAILED,
        )
    if isinstance(error, ValueError):
        return BadResponse(f"the URL for {resource} is not valid: {printable(url)}")
    connecting = (requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError)
    if isinstance(error, connecting) or any(isinstance(one, NewConnectionError) for one in causes):
        return CaUnavailable(
            f"{host} cannot be reached for {resource}: {_root_cause(causes)}",
            hint="Check the network, the CA's host name, and the proxy settings.",
            code=NEVER_SENT,
        )
    return CaUnavailable(f"{host} did not respond to {resource}: {_root_cause(causes)}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, which requests and urllib3 keep in three different ways."""
    current: BaseException | None = error
    for _ in range(10):
        if current is None:
            return
        yield current
        nested = (getattr(current, "reason", None), *current.args, current.__context__)
        current = current.__cause__ or next(
            (one for one in nested if isinstance(one, BaseException)), None
        )


def _root_cause(causes: tuple[BaseException, ...]) -> str:
    """Return the text of the root cause."""
    last = causes[-1]
    text = last.strerror if isinstance(last, OSError) and last.strerror else str(last)
    return printable(text) or type(last).__name__
