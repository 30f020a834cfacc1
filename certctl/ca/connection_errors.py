"""Turns failed requests (refused connections, timeouts, TLS errors, bad URLs) into certctl's
errors.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import NewConnectionError

from certctl.ca.problems import Resource
from certctl.model.errors import AcmeError, BadResponse, CaUnavailable
from certctl.model.text import printable
from certctl.system.http import OUTSIDE_VALIDITY

_WRONG_CLOCK = timedelta(hours=1)

NEVER_SENT = "acme.unreachable"
"""The code of an error after which the CA cannot have acted, because the request was never sent."""

TLS_FAILED = "acme.tls"
"""The code of an error for a server whose TLS certificate is not trusted."""


def connection_error(
    error: Exception,
    url: str,
    resource: Resource,
    now: datetime,
    other_clock: Callable[[], datetime | None],
) -> AcmeError:
    """Return the error for what `requests` or urllib3 raised for a request to `url`.

    `other_clock` returns the time by another clock than this machine's, which shows `now`; it is
    called only if a wrong clock may be the reason.
    """
    host = urlsplit(url).netloc
    causes = tuple(_causes(error))
    tls_error = next((one for one in causes if isinstance(one, ssl.SSLCertVerificationError)), None)
    if tls_error is not None and tls_error.verify_code in OUTSIDE_VALIDITY:
        return _outside_validity(host, tls_error.verify_message, now, other_clock())
    if tls_error is not None:
        return AcmeError(
            f"the TLS certificate of {host} is not trusted: {tls_error.verify_message}",
            hint="If it is a private CA, pass its root certificates with --ca-bundle FILE, or add "
            "them to the certificates that this system trusts.",
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


def _outside_validity(host: str, reason: str, now: datetime, other: datetime | None) -> AcmeError:
    """Return the error for a TLS certificate that has expired, or is not valid yet, by the clock of
    this machine, which shows `now`; `other` is another clock's time.
    """
    shown = f"{now:%Y-%m-%d %H:%M} UTC"
    if other is not None and abs(now - other) >= _WRONG_CLOCK:
        return AcmeError(
            f"the clock of this machine is wrong: it shows {shown}, but it is about "
            f"{other:%Y-%m-%d %H:%M} UTC; by that clock, the TLS certificate of {host} is not "
            f"valid: {reason}",
            hint="Set the clock and enable time synchronization: timedatectl set-ntp true",
            code=TLS_FAILED,
        )
    return AcmeError(
        f"the TLS certificate of {host} is not valid by the clock of this machine, which shows "
        f"{shown}: {reason}",
        hint="Check the clock: date --utc. If it is right, the CA has to renew its certificate.",
        code=TLS_FAILED,
    )


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
