"""The turns at a port of all certctl that share a home directory.

A run with thousands of certificates would hold the port for hours, and whoever wants a single one
meanwhile would wait in vain. So whoever holds it asks now and then whether somebody waits, lets the
answers that stand be fetched, gives no new ones, lets go of the port, and queues up again.
"""

from __future__ import annotations

import threading

from certctl.challenges.system import SolverSystem
from certctl.errors import LockHeld
from certctl.ports import HeldLock

TURN_TIMEOUT_SECONDS = 300.0
"""Seconds to wait for one's turn."""

MIN_TURN_SECONDS = 5.0
"""How long a turn lasts at least, where there is so much to do."""

_LOOK_EVERY = 0.5


class PortTurn:
    """The turn of one solver, whose lock is `guard`; it is held whenever a method is called."""

    def __init__(self, port: int, guard: threading.Lock, system: SolverSystem) -> None:
        self._port = port
        self._system = system
        self._changed = threading.Condition(guard)
        self._lease: HeldLock | None = None
        self._next_look = 0.0
        self._ending = False
        self._patience = TURN_TIMEOUT_SECONDS

    def join(self) -> None:
        """Return at once while there is time for more; once others wait too long, return only when
        the turn has ended. The guard is let go of meanwhile.
        """
        if self._lease is not None and not self._ending:
            self._ending = self._has_had_enough()
        self._changed.wait_for(lambda: not self._ending)

    def take(self) -> None:
        """Wait for the turn. Raises `LockHeld` where it does not come, from then on at once;
        `Interrupted`.
        """
        lock, patience = self._system.lock_port, self._patience
        self._patience = 0.0
        # Only who is next waits for the port itself, so that who holds it can tell that one does.
        with lock(self._port, queue=True, timeout=patience):
            self._lease = lock(self._port, queue=False, timeout=patience)
        self._patience = TURN_TIMEOUT_SECONDS
        self._next_look = self._system.clock.monotonic() + MIN_TURN_SECONDS

    def give(self) -> None:
        """End the turn, if there is one; who joined too late for it goes on."""
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release()
        self._ending = False
        self._changed.notify_all()

    def _has_had_enough(self) -> bool:
        now = self._system.clock.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + _LOOK_EVERY
        try:
            self._system.lock_port(self._port, queue=True, timeout=0).release()
        except LockHeld:
            return True
        return False
