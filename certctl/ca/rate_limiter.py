"""How quickly a CA is asked: by all threads of a run together, no quicker than it documents, and
not at all while it asks for time.

What a CA documents is in `certctl.ca.documented_limits`. A CA that documents nothing is asked as
quickly as it answers; after it said that it is overloaded, with a pause between requests that
shrinks again.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from certctl.ca.problems import Resource
from certctl.errors import AcmeError
from certctl.ports import Clock

_INITIAL_INTERVAL = 0.1
_LONGEST_INTERVAL = 5.0
_SHORTEST_INTERVAL = 0.005
_RECOVERY_FACTOR = 0.8
"""Seconds between two requests to a CA that is overloaded: after a refusal twice the distance there
was on average until then, up to the first one named here, after each further refusal twice as many,
and a fifth less after each success.
"""

_AVERAGE_WEIGHT = 0.1
"""What the newest distance between two requests counts in their average."""


@dataclass(frozen=True)
class Rate:
    """So many requests a second, and that many at once after a rest."""

    per_second: float
    burst: int


@dataclass(frozen=True)
class Hold:
    """The CA asked for time: what it said, and the seconds that are left."""

    error: AcmeError
    seconds: float


class _Bucket:
    """When the next request may go; the generic cell rate algorithm, which needs one number."""

    def __init__(self, rate: Rate) -> None:
        self._spacing = 1 / rate.per_second
        self._tolerance = (rate.burst - 1) * self._spacing
        self._next_slot = 0.0

    def reserve(self, now: float) -> float:
        """Take the next slot; return the seconds until it comes."""
        slot = max(self._next_slot, now)
        self._next_slot = slot + self._spacing
        return max(slot - self._tolerance - now, 0.0)


class Limiter:
    """The pace of one CA. Safe for many threads; it never waits itself."""

    def __init__(self, clock: Clock, rates: Mapping[Resource, Rate], others: Rate | None) -> None:
        """`rates` are those of single resources, `others` holds for the rest of them together."""
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets = {resource: _Bucket(rate) for resource, rate in rates.items()}
        self._others = _Bucket(others) if others else None
        self._interval = 0.0
        self._average_interval = _INITIAL_INTERVAL
        self._latest: float | None = None
        self._next = 0.0
        self._holds: dict[bool, tuple[AcmeError, float]] = {}

    def hold(self, resource: Resource) -> Hold | None:
        """Return whether the CA asked for time that is not over yet."""
        with self._lock:
            found = self._holds.get(_separately_limited(resource))
            if found is None:
                return None
            error, until = found
            seconds = until - self._clock.monotonic()
            if seconds <= 0:
                del self._holds[_separately_limited(resource)]
                return None
            return Hold(error, seconds)

    def reserve(self, resource: Resource) -> float:
        """Take the slot of one request; return the seconds until it may go."""
        with self._lock:
            now = self._clock.monotonic()
            self._update_average(now)
            bucket = self._buckets.get(resource, self._others)
            seconds = bucket.reserve(now) if bucket else 0.0
            if self._interval:
                slot = max(self._next, now)
                self._next = slot + self._interval
                seconds = max(seconds, slot - now)
            return seconds

    def record_refusal(self, resource: Resource, error: AcmeError) -> None:
        """Slow down where an answer says that the CA has too much to do; others change nothing.

        That is 503, and 429 from a proxy before it. A limit that the CA counts itself concerns one
        account or some names, and no other request.
        """
        overloaded = error.status == 503 or (error.status == 429 and error.type is None)
        if not overloaded:
            return
        with self._lock:
            now = self._clock.monotonic()
            first = min(2 * self._average_interval, _INITIAL_INTERVAL)
            self._interval = min(max(2 * self._interval, first), _LONGEST_INTERVAL)
            if error.retry_after:
                until = now + error.retry_after
                held = self._holds.get(_separately_limited(resource))
                if held is None or held[1] < until:
                    self._holds[_separately_limited(resource)] = error, until
                if not _separately_limited(resource):
                    self._next = max(self._next, until)

    def _update_average(self, now: float) -> None:
        """Take note of how quickly requests follow each other; a rest says nothing of that."""
        if self._latest is not None:
            interval = min(now - self._latest, _INITIAL_INTERVAL)
            self._average_interval += (interval - self._average_interval) * _AVERAGE_WEIGHT
        self._latest = now

    def record_success(self) -> None:
        """Take note of a success: the CA can do more again."""
        if not self._interval:
            return
        with self._lock:
            interval = self._interval * _RECOVERY_FACTOR
            self._interval = interval if interval >= _SHORTEST_INTERVAL else 0.0


def _separately_limited(resource: Resource) -> bool:
    """Whether a CA may answer this by another service than the rest: the one says nothing of the
    other.
    """
    return resource is Resource.RENEWAL_INFO
