"""What a run passes to its DNS providers, independent of certificates and CAs."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import field

from certctl.model.ca import Proxy
from certctl.model.lazy_dataclass import dataclass
from certctl.model.ports import Clock, Instruct


class KeyedLocks:
    """A lock for each key, such as a zone. Many DNS APIs replace all records of a name or a zone,
    so that concurrent changes would be lost.
    """

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
    """An `Instruct` for runs without a user at a terminal."""
    return False


@dataclass(frozen=True)
class ProviderSystem:
    """The clock, the event that interrupts the run, and how many seconds a hook may take.

    `instruct` shows instructions to the user at the terminal. `directory` is where a provider may
    store state (None: nowhere). All providers of a run share `provider_locks`.
    """

    clock: Clock
    stop: threading.Event
    hook_timeout: float = 300
    instruct: Instruct = no_terminal
    directory: str | None = None
    provider_locks: KeyedLocks = field(default_factory=KeyedLocks)
    proxy: Proxy = field(default_factory=Proxy)
