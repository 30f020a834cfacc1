"""Puts together what several threads want done at the same time.

Nobody waits for company: who comes first is served at once, and those that come while he is served
go together. For providers that can write many records by one request.
"""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from certctl.errors import ChallengeError

_Item = TypeVar("_Item")


class Refused(ChallengeError):
    """What was asked for is refused; without a part of it, perhaps it would not be."""


@dataclass(eq=False)
class _Turn(Generic[_Item]):
    items: Sequence[_Item]
    done: bool = False
    error: ChallengeError | None = None


class Batches(Generic[_Item]):
    """Does `work` for many callers, for about `limit` items at a time, and one time at a time.

    Where `work` raises `Refused` for several callers, it is done for each of them alone, so that
    nobody suffers for another's items; any other `ChallengeError` is raised by all of them.
    """

    def __init__(self, work: Callable[[Sequence[_Item]], None], *, limit: int) -> None:
        self._work = work
        self._limit = limit
        self._guard = threading.Lock()
        self._one_at_a_time = threading.Lock()
        self._turns: deque[_Turn[_Item]] = deque()

    @property
    def waiting(self) -> int:
        """How many callers wait for their turn."""
        with self._guard:
            return len(self._turns)

    def do(self, items: Sequence[_Item]) -> None:
        """Return once the work is done for these items. Raises `ChallengeError`."""
        turn = _Turn(items)
        with self._guard:
            self._turns.append(turn)
        with self._one_at_a_time:
            while not turn.done:
                self._serve(self._next())
        if turn.error is not None:
            raise turn.error

    def _next(self) -> list[_Turn[_Item]]:
        """Return those whose turn it is: one at least, and as many more as fit."""
        with self._guard:
            turns = [self._turns.popleft()]
            number = len(turns[0].items)
            while self._turns and number + len(self._turns[0].items) <= self._limit:
                turns.append(self._turns.popleft())
                number += len(turns[-1].items)
            return turns

    def _serve(self, turns: Sequence[_Turn[_Item]]) -> None:
        try:
            self._work([item for turn in turns for item in turn.items])
        except Refused as error:
            if len(turns) > 1:
                for turn in turns:
                    self._serve([turn])
            else:
                _end(turns, error)
        except ChallengeError as error:
            _end(turns, error)
        except BaseException:
            # Whatever stops this thread, the others go on, and do it themselves.
            with self._guard:
                self._turns.extendleft(reversed([each for each in turns if not each.done]))
            raise
        else:
            _end(turns, None)


def _end(turns: Sequence[_Turn[_Item]], error: ChallengeError | None) -> None:
    for turn in turns:
        # One of its own for each thread that raises it.
        turn.error = error if len(turns) == 1 else copy.copy(error)
        turn.done = True
