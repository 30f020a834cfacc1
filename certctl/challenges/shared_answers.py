"""Counts who still needs an answer: orders of one run can wait for the very same one.

A CA may hand one pending authorization to two orders of an account (RFC 8555 §7.1.3 leaves it the
choice), so that two certificates share a token. The answer goes when the last of them is done.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable


class Holders:
    """Which holders (certificates) each key (an answer) has; safe to call from any thread."""

    def __init__(self) -> None:
        self._holders: dict[Hashable, set[str]] = {}
        self._mutex = threading.Lock()

    def hold(self, key: Hashable, holder: str) -> None:
        """Note that `holder` needs `key`; the second time changes nothing."""
        with self._mutex:
            self._holders.setdefault(key, set()).add(holder)

    def release(self, key: Hashable, holder: str) -> bool:
        """Note that `holder` is done; return whether nobody needs `key` any more.

        A key that was never held is needed by nobody: it is what another process left behind.
        """
        with self._mutex:
            holders = self._holders.get(key, set())
            holders.discard(holder)
            if holders:
                return False
            self._holders.pop(key, None)
            return True
