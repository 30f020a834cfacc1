"""Work on several certificates in parallel, in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_parallel(
    work: Callable[[_Item], _Result], items: Sequence[_Item], *, threads: int
) -> Iterator[_Result]:
    """Yield the results of `work` in order of completion; a single item runs in this thread.

    If a call raises, no further items are started, those already running are finished and yielded,
    and then the first error is raised.
    """
    if len(items) <= 1 or threads == 1:
        yield from map(work, items)
        return
    from concurrent.futures import (  # noqa: PLC0415 - an idle run needs no threads
        ThreadPoolExecutor,
        as_completed,
    )

    failed: BaseException | None = None
    with ThreadPoolExecutor(min(threads, len(items)), thread_name_prefix="certificate") as pool:
        futures = [pool.submit(work, item) for item in items]
        for future in as_completed(futures):
            if future.cancelled():
                continue
            error = future.exception()
            if error is None:
                yield future.result()
            elif failed is None:
                failed = error
                for each in futures:
                    each.cancel()
    if failed is not None:
        raise failed
