"""Limits the request rate to a CA: all threads of a run together stay within its documented rates,
and send nothing while its `Retry-After` is in effect.

The documented rates are in `certctl.ca.documented_limits`. Without any, requests are sent as fast
as the CA responds. After the CA reports that it is overloaded, requests are sent a little more
slowly than it has just been answering them, and faster again with each success.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping

from certctl.ca.problems import Resource
from certctl.model.errors import AcmeError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.ports import Clock

_STEP_BACK, _LARGEST_STEP = 0.8, 0.7
_RECOVERY = 1.03
_FIRST_RATE, _LOWEST_RATE, _HIGHEST_RATE = 10.0, 1.0, 200.0
"""Requests per second to an overloaded CA. A congestion reduces the rate to 80 % of the number of
successes in the last second, but not below 70 % of what it was, so that a CA that refuses now and
then for other reasons is not slowed down ever more; each success raises it by 3 %. The first rate
is not below the first value; above the highest, requests are unlimited again.
"""

_CONGESTION_SECONDS = 1.0
"""Refusals within this time belong together: requests already sent, or waiting for the same moment,
are refused for the same reason, and say nothing about the new rate.
"""

_CONCURRENT, _CONCURRENT_KNOWN = 16, 32
"""Parallel requests for one order to a CA without documented rates, and with high ones."""


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


class PollTally:
    """How many requests it takes to look once at everything that waits for a CA. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests = 0

    def add(self, requests: int) -> None:
        """Add requests for one more order, or take them away again."""
        with self._lock:
            self.requests += requests


class Limiter:
    """The rate limiter for one CA. Safe for many threads; it never waits itself."""

    def __init__(self, clock: Clock, rates: Mapping[Resource, Rate], others: Rate | None) -> None:
        """`rates` apply to single resources, `others` to all remaining resources together."""
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets = {resource: _Bucket(rate) for resource, rate in rates.items()}
        self._others = _Bucket(others) if others else None
        self._burst = others.burst if others else None
        self._rate: float | None = None
        self._stepped_back: float | None = None
        self._successes: deque[float] = deque(maxlen=int(_HIGHEST_RATE / _STEP_BACK) + 1)
        self._next = 0.0
        self._holds: dict[bool, tuple[AcmeError, float]] = {}

    @property
    def concurrent(self) -> int:
        """How many requests for one order may be under way at the same time: fewer than the burst
        that the CA allows, since other orders send requests too.
        """
        if self._burst is None:
            return _CONCURRENT
        return max(1, min(_CONCURRENT_KNOWN, self._burst * 4 // 5))

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
            bucket = self._buckets.get(resource, self._others)
            seconds = bucket.reserve(now) if bucket else 0.0
            if self._rate is not None:
                slot = max(self._next, now)
                self._next = slot + 1 / self._rate
                seconds = max(seconds, slot - now)
            return seconds

    def record_refusal(
        self, resource: Resource, error: AcmeError, *, sent: float | None = None
    ) -> None:
        """Slow down if the error means that the CA is overloaded; ignore it otherwise. `sent` is
        when the request was sent, by the clock's `monotonic`; by default now.

        Overload is 503, or 429 from a proxy in front of the CA. A rate limit of the CA itself
        affects one account or some names, but no other requests.
        """
        overloaded = error.status == 503 or (error.status == 429 and error.type is None)
        if not overloaded:
            return
        with self._lock:
            now = self._clock.monotonic()
            self._step_back(now, now if sent is None else sent)
            if error.retry_after:
                until = now + error.retry_after
                held = self._holds.get(_separately_limited(resource))
                if held is None or held[1] < until:
                    self._holds[_separately_limited(resource)] = error, until
                if not _separately_limited(resource):
                    self._next = max(self._next, until)

    def _step_back(self, now: float, sent: float) -> None:
        """Reduce the rate, once for all refusals of one congestion."""
        before = self._stepped_back
        if before is not None and (sent < before or now - before < _CONGESTION_SECONDS):
            return
        self._stepped_back = now
        answered = sum(1 for each in self._successes if now - each < 1.0)
        if self._rate is None:
            self._rate = max(answered * _STEP_BACK, _FIRST_RATE)
        else:
            lower = max(min(self._rate, answered) * _STEP_BACK, self._rate * _LARGEST_STEP)
            self._rate = max(lower, _LOWEST_RATE)
        self._next = max(self._next, now)

    def record_success(self) -> None:
        """Speed up again after a success."""
        with self._lock:
            self._successes.append(self._clock.monotonic())
            if self._rate is not None:
                rate = self._rate * _RECOVERY
                self._rate = rate if rate < _HIGHEST_RATE else None


def _separately_limited(resource: Resource) -> bool:
    """Return whether a CA may serve this resource separately from the others, so that overload of
    one does not imply overload of the other.
    """
    return resource is Resource.RENEWAL_INFO
