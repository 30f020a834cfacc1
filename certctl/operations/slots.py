"""How many may work at the same time, the most urgent of those that wait first."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from threading import Event, Lock


class Slots:
    """A semaphore that serves by rank, the lowest first, and equal ranks in the order of asking.

    A slot that is given back goes to the one who is next, and wakes nobody else.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._queue: list[tuple[int, int, Event]] = []
        self._asked = count()
        self._guard = Lock()

    def take(self, rank: int) -> None:
        """Return once there is a slot, and nobody of a lower rank waits for it."""
        with self._guard:
            if self._free > 0:
                self._free -= 1
                return
            turn = Event()
            heappush(self._queue, (rank, next(self._asked), turn))
        turn.wait()

    def give(self) -> None:
        """Give a slot back."""
        with self._guard:
            if self._queue:
                *_, turn = heappop(self._queue)
                turn.set()
            else:
                self._free += 1
