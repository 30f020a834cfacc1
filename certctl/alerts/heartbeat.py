"""Requests a URL after each successful run (`heartbeat`), for monitoring services that raise an
alert when the requests stop.

The request contains nothing about the machine except certctl's name and version. Only the URL's
host is ever printed, because its path may be the secret that authorizes the request.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from certctl.alerts.loading import AlertSystem
from certctl.model.ca import Proxy
from certctl.model.errors import AlertFailed
from certctl.model.ports import Alert
from certctl.model.run import RunSummary
from certctl.rules.settings import Settings
from certctl.system.http import RequestFailed, ping
from certctl.system.proxy import proxy_from
from certctl.version import VERSION

SECONDS = 10.0
"""How long the request may take, from its first packet to the last byte of the response."""


def create(settings: Settings, system: AlertSystem) -> Alert:  # noqa: ARG001 - not needed
    """Return the alert. Raises `AlertFailed` if the URL is not a valid http or https URL."""
    url = settings.required_text("heartbeat")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise AlertFailed(
            "the heartbeat is not a valid http or https URL",
            hint="Correct heartbeat in certctl.toml.",
        )
    method = settings.required_text("heartbeat_method").upper()
    return Heartbeat(url, method, settings.text("heartbeat_ca_bundle"), proxy_from(settings))


class Heartbeat:
    """Implements `certctl.model.ports.Alert`."""

    def __init__(self, url: str, method: str, roots: str | None, proxy: Proxy) -> None:
        self._proxy = proxy
        self._url = url
        self._method = method
        self._roots = roots

    def failed(self, summary: RunSummary) -> bool:  # noqa: ARG002 - sends nothing
        return False

    def succeeded(self, summary: RunSummary) -> None:  # noqa: ARG002 - no details are sent
        host = urlsplit(self._url).hostname
        try:
            status = ping(
                self._url,
                method=self._method,
                user_agent=f"certctl/{VERSION}",
                seconds=SECONDS,
                roots=self._roots,
                proxy=self._proxy,
            )
        except RequestFailed as error:
            raise AlertFailed(f"the heartbeat could not be sent to {host}: {error}") from None
        if not 200 <= status < 300:
            raise AlertFailed(f"{host} answered the heartbeat with HTTP status {status}")
