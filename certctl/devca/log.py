"""The log of requests, for tests and for people: what was asked, and what was answered."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass

from certctl.devca.faults import Kind

_MAX_LOGGED = 100_000


@dataclass(frozen=True)
class LoggedRequest:
    """One request as it came in; `fault` is what it met, `status` what was answered."""

    method: str
    resource: str
    target: str
    status: int
    fault: Kind | None = None


class RequestLog:
    """The latest requests, the oldest first."""

    def __init__(self) -> None:
        self._requests: deque[LoggedRequest] = deque(maxlen=_MAX_LOGGED)
        self._changed = threading.Condition()

    def add(self, request: LoggedRequest) -> None:
        """Note a request."""
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()

    def all(self) -> list[LoggedRequest]:
        """Return the requests that are remembered."""
        with self._changed:
            return list(self._requests)

    def count(self, *resources: str) -> int:
        """Return how many were for these resources; for any without argument."""
        return sum(not resources or each.resource in resources for each in self.all())

    def counts(self) -> dict[str, int]:
        """Return how many there were for each resource."""
        return dict(Counter(each.resource for each in self.all()))

    def clear(self) -> None:
        """Forget them all."""
        with self._changed:
            self._requests.clear()

    def wait_for(self, resource: str, count: int, seconds: float) -> bool:
        """Return whether so many requests for a resource came within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.count(resource) >= count, seconds)
