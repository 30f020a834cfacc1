"""Parallel requests for one order, so that an order with many names does not wait for one round
trip per name (RFC 8555 §7.5).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from http import HTTPStatus
from typing import TypeVar

from certctl.model.errors import CaUnavailable
from certctl.model.ports import Clock

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_MIN_SAVING = 0.25
"""Minimum seconds that parallel requests must save. Each concurrent request needs its own nonce,
and a request to get it (RFC 8555 §7.2): near the CA, sequential requests are as fast and cost it
less.
"""


class _NotStartedError(Exception):
    """An item was skipped because another one had failed."""


class ParallelRequests:
    """A thread pool for all orders of one CA, started when parallel requests first save time.

    A CA that answers parallel requests with server errors, such as one whose database allows one
    writer, gets one request at a time from then on.
    """

    def __init__(self, clock: Clock, threads: int) -> None:
        self._clock = clock
        self._count = threads
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._one_at_a_time = False

    def map(
        self, work: Callable[[_Item], _Result], items: Sequence[_Item], *, latency: float
    ) -> list[_Result]:
        """Return the result of `work` for each item, in order. `work` must not call `map` itself.
        `latency` is the duration of one request in seconds, as far as it is known: items are
        worked on one after another only as long as they do not take longer.

        If one call raises, items not started yet are skipped, and the first error in item order is
        raised once the running calls have ended. Items that failed with a server error while others
        were under way are repeated alone.
        """
        done: list[_Result] = []
        for number, item in enumerate(items):
            left = len(items) - number
            if latency * (left - 1) >= _MIN_SAVING and not self._one_at_a_time:
                return done + self._in_threads(work, items[number:])
            begun = self._clock.monotonic()
            done.append(work(item))
            latency = max(latency, self._clock.monotonic() - begun)
        return done

    def _in_threads(
        self, work: Callable[[_Item], _Result], items: Sequence[_Item]
    ) -> list[_Result]:
        pool = self._threads()
        failed = threading.Event()

        def one(item: _Item) -> _Result:
            if failed.is_set():
                raise _NotStartedError
            try:
                return work(item)
            except BaseException:
                failed.set()
                raise

        futures = [pool.submit(one, item) for item in items]
        wait(futures)
        errors = [each.exception() for each in futures]
        serious = [each for each in errors if each and not isinstance(each, _NotStartedError)]
        if serious and not all(map(_is_server_error, serious)):
            raise next(each for each in serious if not _is_server_error(each))
        if serious:
            self._one_at_a_time = True
        return [
            each.result() if error is None else work(item)
            for item, each, error in zip(items, futures, errors, strict=True)
        ]

    def close(self) -> None:
        """Stop the threads; safe to call twice."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="order")
            return self._pool


def _is_server_error(error: BaseException) -> bool:
    """Return whether the CA failed on a request that it may well handle alone; a CA that is busy
    (503) says that it would not.
    """
    return (
        isinstance(error, CaUnavailable)
        and error.status is not None
        and error.status != HTTPStatus.SERVICE_UNAVAILABLE
    )
