"""The request log, for tests and users."""

from __future__ import annotations

import threading
from collections import Counter, deque

from certctl.devca.faults import Kind
from certctl.model.lazy_dataclass import dataclass

_MAX_LOGGED = 100_000


@dataclass(frozen=True)
class LoggedRequest:
    """One request, with the status of its response, and the fault it got, if any."""

    method: str
    resource: str
    target: str
    status: int
    fault: Kind | None = None


class RequestLog:
    """The latest requests, oldest first."""

    def __init__(self) -> None:
        self._requests: deque[LoggedRequest] = deque(maxlen=_MAX_LOGGED)
        self._changed = threading.Condition()

    def add(self, request: LoggedRequest) -> None:
        """Add a request."""
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()

    def all(self) -> list[LoggedRequest]:
        """Return the logged requests."""
        with self._changed:
            return list(self._requests)

    def count(self, *resources: str) -> int:
        """Return the number of requests for these resources; for all without arguments."""
        return sum(not resources or each.resource in resources for each in self.all())

    def counts(self) -> dict[str, int]:
        """Return the number of requests for each resource."""
        return dict(Counter(each.resource for each in self.all()))

    def clear(self) -> None:
        """Remove all requests."""
        with self._changed:
            self._requests.clear()

    def wait_for(self, resource: str, count: int, seconds: float) -> bool:
        """Wait up to `seconds` for `count` requests for a resource; return whether they arrived."""
        with self._changed:
            return self._changed.wait_for(lambda: self.count(resource) >= count, seconds)
