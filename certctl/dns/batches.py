"""Combines work that several threads request at the same time.

The first request is served at once; requests that arrive in the meantime are combined into the next
batch. For providers that can write many records in one request.
"""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from certctl.model.errors import ChallengeError

_Item = TypeVar("_Item")


class Refused(ChallengeError):
    """A batch was refused; a part of it might be accepted on its own."""


@dataclass(eq=False)
class _Request(Generic[_Item]):
    items: Sequence[_Item]
    done: bool = False
    error: ChallengeError | None = None


class Batches(Generic[_Item]):
    """Runs `work` for many callers, one batch of about `limit` items at a time.

    If `work` raises `Refused` for the items of several callers, it is run for each of them
    separately, so that one caller's items do not fail the others'. Any other `ChallengeError` is
    raised in all callers of the batch.
    """

    def __init__(self, work: Callable[[Sequence[_Item]], None], *, limit: int) -> None:
        self._work = work
        self._limit = limit
        self._guard = threading.Lock()
        self._one_at_a_time = threading.Lock()
        self._queue: deque[_Request[_Item]] = deque()

    @property
    def waiting(self) -> int:
        """How many callers are waiting for a batch."""
        with self._guard:
            return len(self._queue)

    def do(self, items: Sequence[_Item]) -> None:
        """Return once the work is done for these items. Raises `ChallengeError`."""
        request = _Request(items)
        with self._guard:
            self._queue.append(request)
        with self._one_at_a_time:
            while not request.done:
                self._serve(self._next())
        if request.error is not None:
            raise request.error

    def _next(self) -> list[_Request[_Item]]:
        """Return the requests of the next batch: at least one, and as many more as fit."""
        with self._guard:
            batch = [self._queue.popleft()]
            number = len(batch[0].items)
            while self._queue and number + len(self._queue[0].items) <= self._limit:
                batch.append(self._queue.popleft())
                number += len(batch[-1].items)
            return batch

    def _serve(self, batch: Sequence[_Request[_Item]]) -> None:
        try:
            self._work([item for request in batch for item in request.items])
        except Refused as error:
            if len(batch) > 1:
                for request in batch:
                    self._serve([request])
            else:
                _end(batch, error)
        except ChallengeError as error:
            _end(batch, error)
        except BaseException:
            # This thread ends; put its requests back, so that the other threads serve them.
            with self._guard:
                self._queue.extendleft(reversed([each for each in batch if not each.done]))
            raise
        else:
            _end(batch, None)


def _end(batch: Sequence[_Request[_Item]], error: ChallengeError | None) -> None:
    for request in batch:
        # Each thread that raises the exception needs its own copy.
        request.error = error if len(batch) == 1 else copy.copy(error)
        request.done = True
