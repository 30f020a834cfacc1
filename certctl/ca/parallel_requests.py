"""Parallel requests for one order, so that an order with many names does not wait for one round
trip per name (RFC 8555 §7.5).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_THREADS = 32

_MIN_SAVING = 0.25
"""Minimum seconds that parallel requests must save. Each concurrent request needs its own nonce,
and a request to get it (RFC 8555 §7.2): near the CA, sequential requests are as fast and cost it
less.
"""


class _NotStartedError(Exception):
    """An item was skipped because another one had failed."""


class ParallelRequests:
    """A thread pool for all orders of one CA, started when parallel requests first save time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def map(
        self, work: Callable[[_Item], _Result], items: Sequence[_Item], *, latency: float
    ) -> list[_Result]:
        """Return the result of `work` for each item, in order. `work` must not call `map` itself.
        `latency` is the duration of one request in seconds.

        If one call raises, items not started yet are skipped, and the first error in item order is
        raised once the running calls have ended.
        """
        if latency * (len(items) - 1) < _MIN_SAVING:
            return [work(item) for item in items]
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
        errors = (each.exception() for each in futures)
        error = next(
            (each for each in errors if each and not isinstance(each, _NotStartedError)), None
        )
        if error is not None:
            raise error
        return [each.result() for each in futures]

    def close(self) -> None:
        """Stop the threads; safe to call twice."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="order")
            return self._pool
