"""What a run passes to its solvers, independent of certificates and CAs."""

from __future__ import annotations

import threading
from dataclasses import field
from typing import Self

from certctl.dns.system import KeyedLocks, no_terminal
from certctl.model.ca import Proxy
from certctl.model.lazy_dataclass import dataclass
from certctl.model.ports import Clock, HeldLock, Instruct, LockPort
from certctl.rules.credentials import EMPTY, DnsCredentials


class _NullLock:
    """The lock of a port that no other certctl uses."""

    def release(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def no_port_lock(port: int, *, queue: bool, timeout: float) -> HeldLock:  # noqa: ARG001 - as `LockPort`
    """Return a lock at once, for runs without other certctl processes."""
    return _NullLock()


@dataclass(frozen=True)
class SolverSystem:
    """The clock, the event that interrupts the run, the port locks, and what DNS providers need:
    credentials, instructions to the user at the terminal, and locks for their APIs.
    """

    clock: Clock
    stop: threading.Event
    credentials: DnsCredentials = field(default=EMPTY, repr=False)
    instruct: Instruct = no_terminal
    provider_locks: KeyedLocks = field(default_factory=KeyedLocks)
    lock_port: LockPort = no_port_lock
    proxy: Proxy = field(default_factory=Proxy)
