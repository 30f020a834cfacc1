"""The answers that certctl's own challenge servers serve, and which of them have been requested.

Shared by the HTTP-01 server (an answer is a text) and the TLS-ALPN-01 server (a TLS context).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Generic, TypeVar

from certctl.challenges.system import SolverSystem

REQUEST_WAIT_SECONDS = 3.0
"""How long to wait for the CA's request before polling the CA anyway: a load balancer may send the
request to another machine, and a name that does not resolve gets no request at all.
"""

_STOP_POLL_SECONDS = 0.1

_Answer = TypeVar("_Answer")


class Answers(Generic[_Answer]):
    """Answers by key (a token or a name), and which of them were requested. Thread-safe."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._answers: dict[str, _Answer] = {}
        self._requested: set[str] = set()
        self._watchers: dict[threading.Event, frozenset[str]] = {}

    def __len__(self) -> int:
        with self._mutex:
            return len(self._answers)

    def add(self, key: str, answer: _Answer) -> None:
        """Start to answer requests for `key`."""
        with self._mutex:
            self._answers[key] = answer

    def remove(self, key: str) -> None:
        """Stop answering requests for `key`; an unknown key is ignored."""
        with self._mutex:
            self._answers.pop(key, None)
            self._requested.discard(key)

    def get(self, key: str) -> _Answer | None:
        """Return the answer for `key`, or None if the key is unknown."""
        with self._mutex:
            return self._answers.get(key)

    def take(self, key: str) -> _Answer | None:
        """Return the answer for `key` and record that it was requested; None if it is unknown."""
        with self._mutex:
            answer = self._answers.get(key)
            if answer is not None:
                self._requested.add(key)
                self._notify_watchers()
            return answer

    def wait_for_validation(self, keys: Iterable[str], system: SolverSystem) -> None:
        """Return when each key has been requested, after `REQUEST_WAIT_SECONDS`, or on `stop`."""
        clock, stop = system.clock, system.stop
        all_requested = self._watch(keys)
        deadline = clock.monotonic() + REQUEST_WAIT_SECONDS
        try:
            while not all_requested.is_set() and not stop.is_set():
                left = deadline - clock.monotonic()
                if left <= 0:
                    return
                clock.wait(all_requested, min(left, _STOP_POLL_SECONDS))
        finally:
            with self._mutex:
                self._watchers.pop(all_requested, None)

    def _watch(self, keys: Iterable[str]) -> threading.Event:
        event = threading.Event()
        with self._mutex:
            self._watchers[event] = frozenset(keys)
            self._notify_watchers()
        return event

    def _notify_watchers(self) -> None:
        for event, keys in self._watchers.items():
            if keys <= self._requested:
                event.set()
