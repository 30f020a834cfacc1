"""How many may work at the same time, the most urgent of those that wait first."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from threading import Condition


class Slots:
    """A semaphore that serves by rank, the lowest first, and equal ranks in the order of asking."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._waiting: list[tuple[int, int]] = []
        self._asked = count()
        self._changed = Condition()

    def take(self, rank: int) -> None:
        """Return once there is a slot, and nobody of a lower rank waits for it."""
        with self._changed:
            turn = (rank, next(self._asked))
            heappush(self._waiting, turn)
            self._changed.wait_for(lambda: self._free > 0 and self._waiting[0] == turn)
            heappop(self._waiting)
            self._free -= 1
            self._changed.notify_all()

    def give(self) -> None:
        """Give a slot back."""
        with self._changed:
            self._free += 1
            self._changed.notify_all()
