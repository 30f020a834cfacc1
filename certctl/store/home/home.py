"""The stores of a home directory: both ports over the same files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from certctl.model.ports import Clock
from certctl.rules.settings import Settings
from certctl.store.home.home_machine import HomeMachine
from certctl.store.home.home_records import HomeRecords
from certctl.store.home.parts import Parts, ignore_warning
from certctl.store.home.tree import LocalTree


class Home:
    """A home directory, which the first write creates.

    `warn` is called for files that cannot be parsed and are not essential. `stop` ends waiting for
    a lock.
    """

    def __init__(
        self,
        directory: Path,
        settings: Settings,
        clock: Clock,
        *,
        stop: threading.Event | None = None,
        warn: Callable[[str], None] = ignore_warning,
    ) -> None:
        parts = Parts(directory, settings, clock, stop=stop, warn=warn)
        self.trust = parts.trust
        self.records = HomeRecords(parts)
        self.machine = HomeMachine(parts)
        self.tree = LocalTree(directory)
