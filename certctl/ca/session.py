"""The connections to one CA: `requests`, with our limits and headers, and a debug log of each
request and its response.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping

import requests
from requests.structures import CaseInsensitiveDict
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from certctl.model.ca import OpenedConnection
from certctl.model.errors import ConfigurationError
from certctl.system.http import BoundedAdapter
from certctl.version import VERSION

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection."""

LOGGER = "certctl.ca"
"""The name of the logger that requests and responses are logged to, with the level DEBUG."""

_CONNECTIONS_KEPT = 64

_PLAIN_URL = re.compile(
    r"https?://[a-z0-9-]+(\.[a-z0-9-]+)*(:[0-9]{1,5})?"
    r"/((?!\.)[A-Za-z0-9_.-]*/)*(?!\.)[A-Za-z0-9_.-]*"
)

_log = logging.getLogger(LOGGER)


def is_plain(url: str) -> bool:
    """Return whether `requests` would change nothing in a URL, as in nearly all that CAs use.

    The CertID of RFC 9773 has a dot in it. A part of the path that begins with one may lead up.
    """
    return _PLAIN_URL.fullmatch(url) is not None


class Session:
    """Connections to one CA, kept open. Safe for many threads.

    Servers are verified with the root certificates in the file `ca_bundle`, by default the public
    ones. Raises `ConfigurationError` if that file cannot be read.
    """

    def __init__(
        self,
        ca_bundle: str | None,
        stop: threading.Event,
        opened: OpenedConnection | None = None,
    ) -> None:
        # Not a `requests.Session`: half of what a request costs would go into settings, cookies,
        # redirects and passwords from the environment, none of which a CA may have.
        self._adapter = _adapter(ca_bundle, stop, opened)
        self._headers = {
            "Accept": "*/*",
            "Accept-Language": "en",
            "Accept-Encoding": "identity",
            "Connection": "keep-alive",
            # RFC 8555 §6.1 requires it, so that a CA can identify misbehaving clients.
            "User-Agent": f"certctl/{VERSION} requests/{requests.__version__}",
        }

    def request(
        self,
        method: str,
        url: str,
        *,
        seconds: float,
        proxies: Mapping[str, str],
        data: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send a request and return its response, which is complete after at most `seconds`.

        Redirects are not followed: a POST that was redirected to a GET would seem to succeed.
        Raises what `requests` raises, and `ResponseLimitExceeded` and `RequestStopped`.
        """
        _log.debug("request: %s %s\n%s", method, url, data or "")
        response = self._adapter.send(
            self._prepared(method, url, data, headers or {}),
            timeout=(min(CONNECT_TIMEOUT, seconds), seconds),
            proxies=proxies,
        )
        response.content  # noqa: B018 - reads it, within the same limits
        # Every text of ACME is UTF-8; without this, requests would guess.
        response.encoding = "utf-8"
        if _log.isEnabledFor(logging.DEBUG):
            sent = "".join(f"{name}: {value}\n" for name, value in response.headers.items())
            _log.debug("response: HTTP %d\n%s\n%s", response.status_code, sent, response.text)
        return response

    def close(self) -> None:
        """Close the connections; safe to call twice."""
        self._adapter.close()

    def _prepared(
        self, method: str, url: str, data: str | None, headers: Mapping[str, str]
    ) -> requests.PreparedRequest:
        body = None if data is None else data.encode()
        length = {} if body is None else {"Content-Length": str(len(body))}
        request = requests.PreparedRequest()
        request.method = method
        if is_plain(url):
            request.url = url
        else:
            request.prepare_url(url, None)
        request.headers = CaseInsensitiveDict({**self._headers, **headers, **length})
        request.body = body
        return request


def _adapter(
    ca_bundle: str | None, stop: threading.Event, opened: OpenedConnection | None
) -> BoundedAdapter:
    try:
        return BoundedAdapter(
            ca_bundle, connections_kept=_CONNECTIONS_KEPT, stop=stop, opened=opened
        )
    except OSError as error:
        raise ConfigurationError(
            "cannot read trusted root certificates from "
            f"{ca_bundle or DEFAULT_CA_BUNDLE_PATH}: {error.strerror or error}",
            hint="Pass a PEM file that this user can read with --ca-bundle.",
            code="configuration.ca_bundle",
        ) from error
