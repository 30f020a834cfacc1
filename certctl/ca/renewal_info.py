"""Fetches and parses a CA's renewal information (ARI, RFC 9773 §4).

Renewal information is optional: there is one request, retried once, and a failure never stops or
delays a run.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime

from certctl.ca.messages import json_object
from certctl.ca.network import Network
from certctl.ca.problems import Resource, web_url
from certctl.model.ca import SuggestedWindow
from certctl.model.errors import AcmeError, CaUnavailable, RateLimited, RenewalInfoUnavailable

SHORTEST_WAIT, LONGEST_WAIT, DEFAULT_WAIT = 60.0, 86400.0, 6 * 3600.0
"""Seconds between two requests for one certificate: the bounds on a CA's `Retry-After`, and the
default without one (RFC 9773 §4.3.2).
"""

_MAX_OUTAGES = 3
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII
)


class RenewalInfoSource:
    """A CA's renewal information. Safe for many threads.

    After a few consecutive outages it stops sending requests, so that ten thousand certificates do
    not wait for a CA that is down.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outages = 0

    def fetch(self, network: Network, cert_id: str) -> SuggestedWindow:
        """Return the renewal window that the CA suggests for the certificate with this CertID.
        Raises `RenewalInfoUnavailable`.
        """
        base = network.directory.renewal_info
        if base is None:
            raise RenewalInfoUnavailable(
                f"{network.host} does not offer renewal information", permanent=True
            )
        if self._outages >= _MAX_OUTAGES:
            raise RenewalInfoUnavailable(f"{network.host} did not respond to earlier requests")
        try:
            response = network.fetch_once(
                f"{base.rstrip('/')}/{cert_id}", resource=Resource.RENEWAL_INFO
            )
            document = json_object(response, Resource.RENEWAL_INFO)
        except AcmeError as error:
            temporary = isinstance(error, CaUnavailable | RateLimited)
            with self._lock:
                self._outages = self._outages + 1 if temporary else 0
            raise RenewalInfoUnavailable(
                error.message,
                permanent=not temporary,
                status=error.status,
                retry_after=error.retry_after,
            ) from error
        with self._lock:
            self._outages = 0
        asked = network.retry_after(response)
        wait = DEFAULT_WAIT if asked is None else min(max(asked, SHORTEST_WAIT), LONGEST_WAIT)
        return _window(document, wait, network.host)


def parse_timestamp(text: object) -> datetime | None:
    """Return an RFC 3339 timestamp as a time in UTC, to the microsecond; None if it is invalid."""
    found = _TIME.match(text) if isinstance(text, str) else None
    if found is None:
        return None
    day, time, fraction, zone = found.groups()
    zone = "+00:00" if zone in "Zz" else zone
    try:
        parsed = datetime.fromisoformat(f"{day}T{time}.{(fraction or '')[:6]:0<6}{zone}")
        return parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _window(document: Mapping[str, object], wait: float, host: str) -> SuggestedWindow:
    suggested = document.get("suggestedWindow")
    window = suggested if isinstance(suggested, Mapping) else {}
    start, end = parse_timestamp(window.get("start")), parse_timestamp(window.get("end"))
    if start is None or end is None or end <= start:
        raise RenewalInfoUnavailable(f"{host} suggested an invalid renewal window", permanent=True)
    return SuggestedWindow(start, end, wait, web_url(document.get("explanationURL")))
