"""Which alerts there are: one module each, imported where its setting is given.

A new one is a module with `create(settings, system)` and a row of `_BY_SETTING`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event as StopEvent
from types import MappingProxyType
from typing import Protocol

from certctl.events import EventSink
from certctl.ports import Alert, Clock
from certctl.settings import Settings

_BY_SETTING = MappingProxyType(
    {
        "on_failure_hook": "hook",
        "heartbeat": "heartbeat",
        "alert_urls_file": "apprise",
    }
)


@dataclass(frozen=True)
class AlertSystem:
    """What alerts need of the run: time, where events go, the stop event."""

    clock: Clock
    emit: EventSink
    stop: StopEvent


class AlertModule(Protocol):
    """What an alert's module offers."""

    def create(self, settings: Settings, system: AlertSystem) -> Alert:
        """Return the alert that the settings ask for. Raises `AlertFailed` where they make no
        sense.
        """
        ...


def configured(settings: Settings) -> Sequence[str]:
    """Return the modules of the alerts that the settings ask for."""
    return [module for key, module in _BY_SETTING.items() if settings.text(key)]


def create_alert(module: str, settings: Settings, system: AlertSystem) -> Alert:
    """Return an alert. Raises `AlertFailed`."""
    found: AlertModule = importlib.import_module(f"certctl.alerts.{module}")
    return found.create(settings, system)
