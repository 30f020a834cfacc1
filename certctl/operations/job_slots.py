"""How many may work at the same time, the most urgent of those that wait first."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from threading import Event, Lock


@dataclass(order=True)
class _Turn:
    rank: int
    asked: int
    called: Event = field(default_factory=Event, compare=False)


class PrioritySemaphore:
    """A semaphore that serves by rank, the lowest first, and equal ranks in the order of asking.

    A slot that is given back wakes the one who is next, and nobody else.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._waiting: list[_Turn] = []
        self._asked = count()
        self._guard = Lock()

    def take(self, rank: int) -> None:
        """Return once there is a slot, and nobody of a lower rank waits for it."""
        turn = _Turn(rank, next(self._asked))
        with self._guard:
            heappush(self._waiting, turn)
            if self._served(turn):
                return
        while True:
            turn.called.wait()
            with self._guard:
                turn.called.clear()
                if self._served(turn):
                    return

    def give(self) -> None:
        """Give a slot back."""
        with self._guard:
            self._free += 1
            self._call_next()

    def _served(self, turn: _Turn) -> bool:
        """Give a slot to the one whose turn it is, if it is that one's and there is one."""
        if self._free == 0 or self._waiting[0] is not turn:
            return False
        heappop(self._waiting)
        self._free -= 1
        self._call_next()
        return True

    def _call_next(self) -> None:
        if self._free and self._waiting:
            self._waiting[0].called.set()
