"""Sends failure alerts by chat, e-mail or any other service that Apprise supports
(`alert_urls_file`).

Apprise URLs contain tokens and passwords: they are read from a file that only its owner may read
and are never printed. The library's log is discarded because it may contain them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certctl.alerts.loading import AlertSystem
from certctl.alerts.messages import body, title
from certctl.model.errors import AlertFailed, ConfigurationError
from certctl.model.events import Warned
from certctl.model.ports import Alert
from certctl.model.run import RunSummary
from certctl.rules.settings import Settings
from certctl.system.installation import install_command
from certctl.system.secrets import read_secret

_MAX_BYTES = 1500
"""The longest message; most chat services accept about 2000 characters."""


def create(settings: Settings, system: AlertSystem) -> Alert:
    """Return the alert. Raises `AlertFailed` if the file cannot be read."""
    path = Path(settings.required_text("alert_urls_file"))
    try:
        lines = (each.strip() for each in read_secret(path).splitlines())
    except ConfigurationError as error:
        raise AlertFailed(error.message, hint=error.hint) from error
    return Apprise([each for each in lines if each and not each.startswith("#")], path, system)


class Apprise:
    """Implements `certctl.model.ports.Alert`."""

    def __init__(self, urls: list[str], path: Path, system: AlertSystem) -> None:
        self._urls = urls
        self._path = path
        self._system = system

    def failed(self, summary: RunSummary) -> bool:
        """Send a message to each URL. If at least one was sent, failures of the others are only
        warnings.
        """
        try:
            import apprise  # noqa: F401, PLC0415 - optional, and slow to import
        except ImportError:
            raise AlertFailed(
                "alert_urls_file requires the Python library apprise, which is not installed",
                hint=f"Install it: {install_command('apprise')}",
            ) from None
        problems = [
            f"the alert to URL number {number} in {self._path} {problem}"
            for number, url in enumerate(self._urls, 1)
            if (problem := _send(url, summary)) is not None
        ]
        if len(problems) == len(self._urls):
            raise AlertFailed("; ".join(problems) or f"{self._path} contains no URL")
        for each in problems:
            self._system.emit(Warned("", self._system.clock.now(), each))
        return True

    def succeeded(self, summary: RunSummary) -> None:
        pass


def _send(url: str, summary: RunSummary) -> str | None:
    """Send a message; return why that failed, or None if it succeeded."""
    import apprise  # noqa: PLC0415 - optional, and slow to import

    try:
        with _silenced():
            sender = apprise.Apprise()
            if not sender.add(url):
                return "was not sent: Apprise does not support that URL"
            text = body(summary, _MAX_BYTES)
            sent = sender.notify(title=title(summary), body=text, notify_type="failure")
    except Exception as error:  # noqa: BLE001 - third-party code; its message may contain the URL
        return f"failed: {type(error).__name__}"
    return None if sent else "could not be sent"


@contextmanager
def _silenced() -> Iterator[None]:
    """Discard the library's log, which Python would otherwise print on standard error."""
    logger, handler = logging.getLogger("apprise"), logging.NullHandler()
    propagated = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = propagated
        logger.removeHandler(handler)
