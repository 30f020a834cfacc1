"""What a DNS provider gets from the run that it works for; nothing of a certificate or of a CA."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from certctl.ports import Clock


@dataclass(frozen=True)
class ProviderSystem:
    """Time, the event that ends every sleep of the run, and how many seconds a hook may take."""

    clock: Clock
    stop: threading.Event
    hook_timeout: float = 300
