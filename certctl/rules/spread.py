"""When each of many orders can be placed without exceeding a CA's rate limits.

Pure. The capacity of a limit refills evenly over its window, as in `certctl.rules.rate_limits`.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from certctl.model.ca import LedgerEntry, LimitedAction
from certctl.rules.rate_limits import Limit, RegisteredDomain, counted_towards, usage_of

_ROUNDING = timedelta(seconds=1)
"""What is added to a time at which there is room again, so that there really is."""

_ALMOST = 1e-9


@dataclass(eq=False)
class _Capacity:
    """How much of one limit is used for one subject, as of `at`; `waiting` has the orders that wait
    for room, the most urgent first, and `coming` says that the time when there is room is known.
    `reserved` is what orders with a time of their own will use.
    """

    limit: Limit
    used: float
    at: datetime
    waiting: list[int] = field(default_factory=list)
    coming: bool = False
    reserved: int = 0

    def available(self, now: datetime, count: int) -> datetime:
        """Return when there is room for so many more, from `now` on; for more than there can ever
        be, when all is free.
        """
        count = min(count, self.limit.count)
        too_many = self._used(now) + self.reserved - (self.limit.count - count)
        if too_many <= _ALMOST:
            return now
        return now + timedelta(seconds=too_many / self._refill) + _ROUNDING

    def take(self, now: datetime, count: int) -> None:
        """Use so many."""
        self.used, self.at = self._used(now) + count, now

    @property
    def _refill(self) -> float:
        return self.limit.count / self.limit.window.total_seconds()

    def _used(self, now: datetime) -> float:
        return max(self.used - (now - self.at).total_seconds() * self._refill, 0.0)


def spread(
    limits: Sequence[Limit],
    past: Iterable[LedgerEntry],
    wanted: Sequence[Sequence[LedgerEntry]],
    now: datetime,
    domain: RegisteredDomain,
) -> list[datetime]:
    """Return for each certificate when its orders can be placed: now, or as soon as the limits
    leave room for them. What has a later time keeps that, and what it needs. The first of the
    `wanted` is the most urgent.

    Each order is assumed to result in a certificate. Failures are not foreseen.
    """
    spreader = _Spreader(limits, list(past), wanted, now, domain)
    return spreader.times()


def with_certificates(orders: Iterable[LedgerEntry], now: datetime) -> Iterator[LedgerEntry]:
    """Yield what orders that are placed now count as, and the certificates that come of them."""
    for each in orders:
        for what in (LimitedAction.ORDER, LimitedAction.CERTIFICATE):
            yield LedgerEntry(what, now, each.identifiers, each.renewal, each.replaces)


class _Spreader:
    """Goes through the times at which something changes: an order may be placed from then on, or a
    limit has room for one of those that wait for it.
    """

    def __init__(
        self,
        limits: Sequence[Limit],
        past: Sequence[LedgerEntry],
        wanted: Sequence[Sequence[LedgerEntry]],
        now: datetime,
        domain: RegisteredDomain,
    ) -> None:
        self._needs: list[Counter[_Capacity]] = []
        known: dict[tuple[Limit, str], _Capacity] = {}
        used = usage_of(limits, past, now, domain)
        for each in wanted:
            needs = Counter[_Capacity]()
            for entry in with_certificates(each, now):
                for key in counted_towards(limits, entry, domain):
                    if key not in known:
                        known[key] = _Capacity(key[0], used.get(key, 0.0), now)
                    needs[known[key]] += 1
            self._needs.append(needs)
        self._now = now
        self._times: list[datetime | None] = [None] * len(wanted)
        self._order = 0
        self._coming: list[tuple[datetime, int, int | _Capacity]] = []
        for rank, each in enumerate(wanted):
            at = max(entry.at for entry in each)
            if at > now:
                self._times[rank] = at
                for need, count in self._needs[rank].items():
                    need.reserved += count
            self._come(max(at, now), rank)

    def times(self) -> list[datetime]:
        """Return the time of each order."""
        while self._coming:
            now, _, what = heapq.heappop(self._coming)
            if isinstance(what, int):
                self._place(what, now)
                continue
            what.coming = False
            self._place(heapq.heappop(what.waiting), now)
            self._await_room(what, now)
        return [each or self._now for each in self._times]

    def _come(self, at: datetime, what: int | _Capacity) -> None:
        self._order += 1
        heapq.heappush(self._coming, (at, self._order, what))

    def _place(self, rank: int, now: datetime) -> None:
        """Place an order, or have it wait for the limit that has no room for the longest time."""
        needs = self._needs[rank]
        if self._times[rank] is not None:
            for each, count in needs.items():
                each.reserved -= count
                each.take(now, count)
            return
        full = max(needs, key=lambda each: each.available(now, needs[each]), default=None)
        if full is None or full.available(now, needs[full]) <= now:
            for each, count in needs.items():
                each.take(now, count)
            self._times[rank] = now
            return
        heapq.heappush(full.waiting, rank)
        self._await_room(full, now)

    def _await_room(self, full: _Capacity, now: datetime) -> None:
        if full.waiting and not full.coming:
            full.coming = True
            first = full.waiting[0]
            self._come(full.available(now, self._needs[first][full]), full)
