"""When certificates are renewed during the coming weeks, as far as that can be foreseen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from certctl.ca.directories import label
from certctl.engine.run import Run
from certctl.model.certificate import Version
from certctl.model.lazy_dataclass import dataclass
from certctl.operations.forecast import Action, Forecast, Planned
from certctl.rules.plan import AwaitWindow, Wait
from certctl.rules.renewal import renewal_time

_MOST_EVENTS = 1000
"""For each certificate."""


@dataclass(frozen=True)
class Event:
    """What `renew` does for a certificate at some time: `action` is one of `Action`. `expected`:
    the time follows from the lifetimes of certificates that are not issued yet.
    """

    at: datetime
    name: str
    action: Action
    why: str
    ca: str
    expected: bool = False


def calendar(forecast: Forecast, until: timedelta, run: Run) -> Sequence[Event]:
    """Return what `renew` does until then, the earliest first."""
    end = forecast.made + until
    found = [event for each in forecast.items for event in _events(each, forecast.made, end)]
    run.check()
    return sorted(found, key=lambda each: (each.at, each.name))


def _events(item: Planned, now: datetime, end: datetime) -> Iterator[Event]:
    """Yield the events of a certificate. After its next renewal, each lifetime is like the last."""
    ca = label(item.spec.ca) if item.spec is not None else ""
    first = _first(item, now)
    if first is None or first > end:
        return
    renews = item.orders or item.action in {Action.UNCHANGED, Action.LATER, Action.WAIT}
    action = Action.RENEW if item.action is Action.UNCHANGED else item.action
    yield Event(first, item.name, action, item.why, ca)
    if item.live is None or not renews:
        return
    period = _period(item.live)
    at = first + period
    for _ in range(_MOST_EVENTS):
        if at > end or period <= timedelta(0):
            return
        yield Event(at, item.name, Action.RENEW, "its lifetime", ca, expected=True)
        at += period


def _first(item: Planned, now: datetime) -> datetime | None:
    """Return when something is done first; None if that is never, or unknown."""
    if item.at is not None:
        return item.at
    if item.does_something:
        return now
    waits = [each.until for each in item.steps if isinstance(each, Wait) and each.until is not None]
    waits += [each.wait.until for each in item.steps if isinstance(each, AwaitWindow)]
    if waits:
        return min(waits)
    decision = item.decision
    return decision.at if decision is not None and not decision.due else None


def _period(live: Version) -> timedelta:
    """Return how long a version is live before it is renewed."""
    return renewal_time(live) - live.facts.not_before
