"""Finds the configured alerts. Each kind is a module, imported only if its setting is given.

A new kind needs a module with `create(settings, system)` and a row in `_BY_SETTING`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from threading import Event as StopEvent
from types import MappingProxyType
from typing import Protocol

from certctl.model.events import EventSink
from certctl.model.lazy_dataclass import dataclass
from certctl.model.ports import Alert, Clock
from certctl.rules.settings import Settings

_BY_SETTING = MappingProxyType(
    {
        "on_failure_hook": "hook",
        "heartbeat": "heartbeat",
        "alert_urls_file": "apprise",
    }
)


@dataclass(frozen=True)
class AlertSystem:
    """What alerts need from the run: the clock, the event sink, the stop event."""

    clock: Clock
    emit: EventSink
    stop: StopEvent


class AlertModule(Protocol):
    """The interface of an alert's module."""

    def create(self, settings: Settings, system: AlertSystem) -> Alert:
        """Return the alert that the settings configure. Raises `AlertFailed` for invalid ones."""
        ...


def configured(settings: Settings) -> Sequence[str]:
    """Return the module names of the configured alerts."""
    return [module for key, module in _BY_SETTING.items() if settings.text(key)]


def create_alert(module: str, settings: Settings, system: AlertSystem) -> Alert:
    """Return an alert. Raises `AlertFailed`."""
    found: AlertModule = importlib.import_module(f"certctl.alerts.{module}")
    return found.create(settings, system)
