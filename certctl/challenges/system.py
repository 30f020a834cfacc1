"""What a solver gets from the run that it works for; nothing of the certificate or of the CA."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from certctl.credentials import EMPTY, DnsCredentials
from certctl.dns.system import Turns, nobody
from certctl.ports import Clock, Instruct


@dataclass(frozen=True)
class SolverSystem:
    """Time, the event that ends every sleep of the run, and what providers of DNS records need:
    credentials, the person at the terminal, and turns.
    """

    clock: Clock
    stop: threading.Event
    credentials: DnsCredentials = field(default=EMPTY, repr=False)
    instruct: Instruct = nobody
    turns: Turns = field(default_factory=Turns)
