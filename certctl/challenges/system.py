"""What a solver gets from the run that it works for; nothing of the certificate or of the CA."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Self

from certctl.credentials import EMPTY, DnsCredentials
from certctl.dns.system import KeyedLocks, no_terminal
from certctl.ports import Clock, HeldLock, Instruct, LockPort


class _NobodyElse:
    """The lease of a port at which there is no other certctl."""

    def release(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def no_port_lock(port: int, *, queue: bool, timeout: float) -> HeldLock:  # noqa: ARG001 - as `LockPort`
    """Return a lease at once, as where no other certctl is."""
    return _NobodyElse()


@dataclass(frozen=True)
class SolverSystem:
    """Time, the event that ends every sleep of the run, the turns at ports, and what providers of
    DNS records need: credentials, the person at the terminal, and turns.
    """

    clock: Clock
    stop: threading.Event
    credentials: DnsCredentials = field(default=EMPTY, repr=False)
    instruct: Instruct = no_terminal
    provider_locks: KeyedLocks = field(default_factory=KeyedLocks)
    lock_port: LockPort = no_port_lock
