"""A URL that is asked for after each good run (`heartbeat`), for services that raise an alarm where
that stops.

Nothing of the machine is in the request but certctl's name and version. Of the URL only the host is
ever shown: its path may be all that others need to pretend that all is well.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from certctl.alerts.loading import AlertSystem
from certctl.errors import AlertFailed
from certctl.models import RunSummary
from certctl.ports import Alert
from certctl.settings import Settings
from certctl.version import VERSION

SECONDS = 10.0
"""How long the request may take, from its first packet to the last byte of the answer."""


def create(settings: Settings, system: AlertSystem) -> Alert:  # noqa: ARG001 - it needs no time
    """Return the alert. Raises `AlertFailed` where the URL is none of http or https."""
    url = settings.required_text("heartbeat")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise AlertFailed("the heartbeat is no URL of http or https", hint="See certctl.toml.")
    method = settings.required_text("heartbeat_method").upper()
    return Heartbeat(url, method, settings.text("heartbeat_ca_bundle"))


class Heartbeat:
    """Implements `certctl.ports.Alert`."""

    def __init__(self, url: str, method: str, roots: str | None) -> None:
        self._url = url
        self._method = method
        self._roots = roots

    def failed(self, summary: RunSummary) -> bool:  # noqa: ARG002 - its silence tells
        return False

    def succeeded(self, summary: RunSummary) -> None:  # noqa: ARG002 - nobody else is told
        from certctl.system.http import RequestFailed, ping  # noqa: PLC0415 - slow to import

        host = urlsplit(self._url).hostname
        try:
            status = ping(
                self._url,
                method=self._method,
                user_agent=f"certctl/{VERSION}",
                seconds=SECONDS,
                roots=self._roots,
            )
        except RequestFailed as error:
            raise AlertFailed(f"the heartbeat could not be sent to {host}: {error}") from None
        if not 200 <= status < 300:
            raise AlertFailed(f"the heartbeat was answered with {status} by {host}")
