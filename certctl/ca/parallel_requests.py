"""Requests of one order side by side: what many names cost is then the CA's time, and not the
distance to it (RFC 8555 §7.5).
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
"""Seconds that must be in it. Each request under way wants a nonce of its own, and a request for
that (RFC 8555 §7.2): close to the CA, one after the other is as quick and costs it less.
"""


class _NotStartedError(Exception):
    """What was left out since something before it had failed."""


class ParallelRequests:
    """A few threads for all orders of one CA, started once there is time to be gained by them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def map(
        self, work: Callable[[_Item], _Result], items: Sequence[_Item], *, latency: float
    ) -> list[_Result]:
        """Return what `work` gives for each item, in their order. It must not call `map` itself.
        `latency` is what a request takes, in seconds.

        Where one raises, those that have not begun do not begin, and the first error in the order
        of the items is raised once the others have ended.
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
        """End the threads; safe to call twice."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="order")
            return self._pool
