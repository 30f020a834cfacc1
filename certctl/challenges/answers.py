"""What a server of certctl's own answers, by whom it is asked for, and whether that has happened.

Shared by the servers of HTTP-01 and TLS-ALPN-01, whose answers differ: a text, a TLS context.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Generic, TypeVar

from certctl.challenges.system import SolverSystem

REQUEST_WAIT_SECONDS = 3.0
"""How long to wait for the CA's request before it is polled all the same: another machine behind a
load balancer may get it, and none comes for a name that does not resolve.
"""

_LOOK_AT_STOP_EVERY = 0.1

_Answer = TypeVar("_Answer")


class Answers(Generic[_Answer]):
    """Answers by key (a token, a name), and which of them were asked for; safe from any thread."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._answers: dict[str, _Answer] = {}
        self._asked: set[str] = set()
        self._watchers: dict[threading.Event, frozenset[str]] = {}

    def __len__(self) -> int:
        with self._mutex:
            return len(self._answers)

    def add(self, key: str, answer: _Answer) -> None:
        """Answer `key` from now on."""
        with self._mutex:
            self._answers[key] = answer

    def remove(self, key: str) -> None:
        """Answer `key` no more; one that is unknown is no failure."""
        with self._mutex:
            self._answers.pop(key, None)
            self._asked.discard(key)

    def look(self, key: str) -> _Answer | None:
        """Return the answer for `key`, None for an unknown one."""
        with self._mutex:
            return self._answers.get(key)

    def take(self, key: str) -> _Answer | None:
        """Return the answer for `key`, noting that somebody got it; None for an unknown key."""
        with self._mutex:
            answer = self._answers.get(key)
            if answer is not None:
                self._asked.add(key)
                self._notify()
            return answer

    def wait_for_validation(self, keys: Iterable[str], system: SolverSystem) -> None:
        """Return when each key has been requested, after `REQUEST_WAIT_SECONDS`, or on `stop`."""
        clock, stop = system.clock, system.stop
        all_asked = self._watch(keys)
        deadline = clock.monotonic() + REQUEST_WAIT_SECONDS
        try:
            while not all_asked.is_set() and not stop.is_set():
                left = deadline - clock.monotonic()
                if left <= 0:
                    return
                clock.wait(all_asked, min(left, _LOOK_AT_STOP_EVERY))
        finally:
            with self._mutex:
                self._watchers.pop(all_asked, None)

    def _watch(self, keys: Iterable[str]) -> threading.Event:
        event = threading.Event()
        with self._mutex:
            self._watchers[event] = frozenset(keys)
            self._notify()
        return event

    def _notify(self) -> None:
        for event, keys in self._watchers.items():
            if keys <= self._asked:
                event.set()
