"""Tracks which certificates still need an answer, since several orders of a run can share one.

A CA may use one pending authorization for two orders of an account (RFC 8555 §7.1.3), so that two
certificates share a token. The answer is removed when the last of them is done.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable


class Holders:
    """The holders (certificates) of each key (an answer). Thread-safe."""

    def __init__(self) -> None:
        self._holders: dict[Hashable, set[str]] = {}
        self._mutex = threading.Lock()

    def hold(self, key: Hashable, holder: str) -> None:
        """Record that `holder` needs `key`; a second call has no effect."""
        with self._mutex:
            self._holders.setdefault(key, set()).add(holder)

    def release(self, key: Hashable, holder: str) -> bool:
        """Record that `holder` is done with `key`; return whether `key` has no holder left.

        A key that was never held has none: it belongs to an answer that another process left.
        """
        with self._mutex:
            holders = self._holders.get(key, set())
            holders.discard(holder)
            if holders:
                return False
            self._holders.pop(key, None)
            return True
