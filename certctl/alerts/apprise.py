"""Failures told by chat, mail, or whatever else Apprise knows (`alert_urls_file`).

Its URLs hold tokens and passwords: they are read from a file that only its owner can read, and are
never shown; what the library logs is thrown away, since it may show them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certctl.alerts.loading import AlertSystem
from certctl.alerts.messages import body, title
from certctl.errors import AlertFailed, ConfigurationError
from certctl.events import Warned
from certctl.models import RunSummary
from certctl.ports import Alert
from certctl.settings import Settings
from certctl.system.secrets import read_secret

_LONGEST = 1500
"""Characters of a message: chats take 2000 or so, and whoever reads it looks at the log anyway."""


def create(settings: Settings, system: AlertSystem) -> Alert:
    """Return the alert. Raises `AlertFailed` where the file cannot be read."""
    path = Path(settings.required_text("alert_urls_file"))
    try:
        lines = (each.strip() for each in read_secret(path).splitlines())
    except ConfigurationError as error:
        raise AlertFailed(error.message, hint=error.hint) from error
    return Apprise([each for each in lines if each and not each.startswith("#")], path, system)


class Apprise:
    """Implements `certctl.ports.Alert`."""

    def __init__(self, urls: list[str], path: Path, system: AlertSystem) -> None:
        self._urls = urls
        self._path = path
        self._system = system

    def failed(self, summary: RunSummary) -> bool:
        """Send a message to each URL. One that was sent is enough for a person to know; what is
        wrong with the others is a warning.
        """
        try:
            import apprise  # noqa: F401, PLC0415 - optional, and slow to import
        except ImportError:
            raise AlertFailed(
                "alert_urls_file needs the Python library apprise, which is not installed here",
                hint=f"{sys.executable} -m pip install apprise",
            ) from None
        problems = [
            f"the alert at URL number {number} of {self._path} {problem}"
            for number, url in enumerate(self._urls, 1)
            if (problem := _sent(url, summary)) is not None
        ]
        if len(problems) == len(self._urls):
            raise AlertFailed("; ".join(problems) or f"{self._path} has no URL")
        for each in problems:
            self._system.emit(Warned("", self._system.clock.now(), each))
        return True

    def succeeded(self, summary: RunSummary) -> None:
        pass


def _sent(url: str, summary: RunSummary) -> str | None:
    """Send a message and return what went wrong; None where nothing did."""
    import apprise  # noqa: PLC0415 - optional, and slow to import

    try:
        with _silenced():
            sender = apprise.Apprise()
            if not sender.add(url):
                return "is none that Apprise knows"
            text = body(summary, _LONGEST)
            sent = sender.notify(title=title(summary), body=text, notify_type="failure")
    except Exception as error:  # noqa: BLE001 - code of others, whose words may hold the URL
        return f"failed: {type(error).__name__}"
    return None if sent else "could not be sent"


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep what the library logs off standard error, where Python puts what nobody handles."""
    logger, handler = logging.getLogger("apprise"), logging.NullHandler()
    propagated = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = propagated
        logger.removeHandler(handler)
