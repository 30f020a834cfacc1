"""What a DNS provider gets from the run that it works for; nothing of a certificate or of a CA."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from certctl.ports import Clock, Instruct


class KeyedLocks:
    """One at a time at each thing: many a DNS API replaces all records of a name, or of a zone."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[Hashable, threading.Lock] = {}

    @contextmanager
    def hold(self, key: Hashable) -> Iterator[None]:
        """Hold the lock of `key`, waiting for any other thread that holds it."""
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            yield


def no_terminal(_instruction: str) -> bool:
    """Stand for the person at the terminal where there is none."""
    return False


@dataclass(frozen=True)
class ProviderSystem:
    """Time, the event that ends every sleep of the run, and how many seconds a hook may take.

    `instruct` reaches the person at the terminal, `directory` is where a provider may keep what it
    must remember (None: nowhere), and `turns` are shared by the providers of a run.
    """

    clock: Clock
    stop: threading.Event
    hook_timeout: float = 300
    instruct: Instruct = no_terminal
    directory: str | None = None
    provider_locks: KeyedLocks = field(default_factory=KeyedLocks)
