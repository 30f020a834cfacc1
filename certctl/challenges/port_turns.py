"""Lets all certctl processes of a home directory take turns at a port.

A run with thousands of certificates would hold the port for hours, and block a run that needs it
for a single certificate. So the process that holds the port regularly checks whether another one is
waiting. If so, it adds no more answers, releases the port when the current ones are done, and waits
for its next turn.
"""

from __future__ import annotations

import threading

from certctl.challenges.system import SolverSystem
from certctl.model.errors import LockHeld
from certctl.model.ports import HeldLock

TURN_TIMEOUT_SECONDS = 300.0
"""How many seconds to wait for a turn."""

MIN_TURN_SECONDS = 5.0
"""How many seconds a turn lasts at least if there is enough to do."""

_CHECK_SECONDS = 0.5


class PortTurn:
    """One solver's turn; `guard` is the solver's lock, which callers of the methods must hold."""

    def __init__(self, port: int, guard: threading.Lock, system: SolverSystem) -> None:
        self._port = port
        self._system = system
        self._changed = threading.Condition(guard)
        self._lock: HeldLock | None = None
        self._next_check = 0.0
        self._ending = False
        self._timeout = TURN_TIMEOUT_SECONDS

    def join(self) -> None:
        """Return at once if the turn may continue. If another process is waiting, release the guard
        and return when this turn has ended.
        """
        if self._lock is not None and not self._ending:
            self._ending = self._should_yield()
        self._changed.wait_for(lambda: not self._ending)

    def start(self) -> None:
        """Wait for the turn. Raises `LockHeld` after `TURN_TIMEOUT_SECONDS`, and in later calls at
        once; raises `Interrupted`.
        """
        lock_port, timeout = self._system.lock_port, self._timeout
        self._timeout = 0.0
        # Only the holder of the queue lock waits for the port's lock, so that the process that has
        # the port can see that another one is waiting.
        with lock_port(self._port, queue=True, timeout=timeout):
            self._lock = lock_port(self._port, queue=False, timeout=timeout)
        self._timeout = TURN_TIMEOUT_SECONDS
        self._next_check = self._system.clock.monotonic() + MIN_TURN_SECONDS

    def end(self) -> None:
        """End the turn, if there is one, and wake the callers that wait in `join`."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()
        self._ending = False
        self._changed.notify_all()

    def _should_yield(self) -> bool:
        now = self._system.clock.monotonic()
        if now < self._next_check:
            return False
        self._next_check = now + _CHECK_SECONDS
        try:
            self._system.lock_port(self._port, queue=True, timeout=0).release()
        except LockHeld:
            return True
        return False
