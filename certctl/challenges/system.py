"""What a solver gets from the run that it works for; nothing of the certificate or of the CA."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from certctl.ports import Clock


@dataclass(frozen=True)
class SolverSystem:
    """Time, and the event that ends every sleep of the run."""

    clock: Clock
    stop: threading.Event
