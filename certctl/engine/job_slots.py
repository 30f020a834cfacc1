"""A semaphore that serves the most urgent waiter first."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from threading import Event, Lock


@dataclass(order=True)
class _Waiter:
    rank: int
    sequence: int
    wake: Event = field(default_factory=Event, compare=False)


class PrioritySemaphore:
    """A semaphore that serves by rank, lowest first; equal ranks in order of arrival.

    Releasing a slot wakes only the next waiter.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._waiting: list[_Waiter] = []
        self._sequence = count()
        self._guard = Lock()

    def acquire(self, rank: int) -> None:
        """Return once a slot is free and no waiter has a lower rank."""
        waiter = _Waiter(rank, next(self._sequence))
        with self._guard:
            heappush(self._waiting, waiter)
            if self._try_acquire(waiter):
                return
        while True:
            waiter.wake.wait()
            with self._guard:
                waiter.wake.clear()
                if self._try_acquire(waiter):
                    return

    def release(self) -> None:
        """Release a slot."""
        with self._guard:
            self._free += 1
            self._wake_next()

    def _try_acquire(self, waiter: _Waiter) -> bool:
        """Take a slot if one is free and the waiter is next; return whether it was taken."""
        if self._free == 0 or self._waiting[0] is not waiter:
            return False
        heappop(self._waiting)
        self._free -= 1
        self._wake_next()
        return True

    def _wake_next(self) -> None:
        if self._free and self._waiting:
            self._waiting[0].wake.set()
