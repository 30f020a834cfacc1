"""Limits the request rate to a CA: all threads of a run together stay within its documented rates,
and send nothing while its `Retry-After` is in effect.

The documented rates are in `certctl.ca.documented_limits`. Without any, requests are sent as fast
as the CA responds. After the CA reports that it is overloaded, an interval between requests is
enforced, which shrinks with each success.
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
"""Seconds between two requests to an overloaded CA: after a refusal twice the average interval so
far, but at most the initial one given here; doubled by each further refusal, and reduced by a fifth
after each success.
"""

_AVERAGE_WEIGHT = 0.1
"""The weight of the latest interval between two requests in the moving average."""


@dataclass(frozen=True)
class Rate:
    """Requests per second, and the burst allowed after a pause."""

    per_second: float
    burst: int


@dataclass(frozen=True)
class Hold:
    """A delay that the CA asked for: its error, and the seconds left."""

    error: AcmeError
    seconds: float


class _Bucket:
    """When the next request may be sent, by the generic cell rate algorithm."""

    def __init__(self, rate: Rate) -> None:
        self._spacing = 1 / rate.per_second
        self._tolerance = (rate.burst - 1) * self._spacing
        self._next_slot = 0.0

    def reserve(self, now: float) -> float:
        """Reserve the next slot; return the seconds until then."""
        slot = max(self._next_slot, now)
        self._next_slot = slot + self._spacing
        return max(slot - self._tolerance - now, 0.0)


class Limiter:
    """The rate limiter for one CA. Safe for many threads; it never waits itself."""

    def __init__(self, clock: Clock, rates: Mapping[Resource, Rate], others: Rate | None) -> None:
        """`rates` apply to single resources, `others` to all remaining resources together."""
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
        """Return the delay that the CA asked for, if it has not passed yet."""
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
        """Reserve a slot for one request; return the seconds until it may be sent."""
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
        """Slow down if the error means that the CA is overloaded; ignore it otherwise.

        Overload is 503, or 429 from a proxy in front of the CA. A rate limit of the CA itself
        affects one account or some names, but no other requests.
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
        """Update the average interval between requests, in which pauses are capped."""
        if self._latest is not None:
            interval = min(now - self._latest, _INITIAL_INTERVAL)
            self._average_interval += (interval - self._average_interval) * _AVERAGE_WEIGHT
        self._latest = now

    def record_success(self) -> None:
        """Speed up again after a success."""
        if not self._interval:
            return
        with self._lock:
            interval = self._interval * _RECOVERY_FACTOR
            self._interval = interval if interval >= _SHORTEST_INTERVAL else 0.0


def _separately_limited(resource: Resource) -> bool:
    """Return whether a CA may serve this resource separately from the others, so that overload of
    one does not imply overload of the other.
    """
    return resource is Resource.RENEWAL_INFO
