"""How many may work at the same time, in the order in which they asked."""

from __future__ import annotations

from collections import deque
from threading import Condition


class Slots:
    """A semaphore that is fair: what is most urgent, and so came first, is served first."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._waiting: deque[object] = deque()
        self._changed = Condition()

    def take(self, *, first: bool = False) -> None:
        """Return once there is a slot; `first` goes before all that wait."""
        turn = object()
        with self._changed:
            if first:
                self._waiting.appendleft(turn)
            else:
                self._waiting.append(turn)
            self._changed.wait_for(lambda: self._free > 0 and self._waiting[0] is turn)
            self._waiting.popleft()
            self._free -= 1
            self._changed.notify_all()

    def give(self) -> None:
        """Give a slot back."""
        with self._changed:
            self._free += 1
            self._changed.notify_all()
