"""A CA's limits on what is asked of it: how much of them is used, when there is room again, and
which of them a run would overstep.

Pure rules on what was asked. They count as Let's Encrypt does: what was used comes back evenly in
the course of the limit's time. Which CA has which limits is in `certctl.ca.documented_limits`; the
CA has the last word, since others may ask for the same names.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from certctl.models import LedgerEntry, LimitedAction

RETENTION = timedelta(days=7)
"""The longest time over which a known CA counts; nothing older is remembered."""

_SIZE_OF_ENTRY = 4
"""What an entry takes beside its names, in names."""

RegisteredDomain = Callable[[str], str]
"""Returns the registered domain of an identifier's value; of an address, the address."""


class Per(StrEnum):
    """What a limit is counted for, each of these by itself."""

    CA = "ca"
    ACCOUNT = "account"
    DOMAIN = "registered_domain"
    SET = "set_of_names"
    IDENTIFIER = "identifier"


@dataclass(frozen=True)
class Limit:
    """So many of something in a time; `name` is what people call it."""

    name: str
    action: LimitedAction
    per: Per
    count: int
    window: timedelta

    def __str__(self) -> str:
        """The limit in words, such as `300 new orders in 3 hours`."""
        return f"{self.count} {self.name} in {_duration(self.window)}"


@dataclass(frozen=True)
class Usage:
    """How much of a limit is used for one `subject` (empty: for all). `available_at` is when one
    more is allowed; None if that is now.
    """

    limit: Limit
    subject: str
    used: int
    available_at: datetime | None

    def __str__(self) -> str:
        """What is used in words, such as `3 of 50 new certificates in 7 days for example.com`."""
        return f"{self.used} of {self.limit}{self._for}"

    @property
    def _for(self) -> str:
        return f" for {self.subject}" if self.subject else ""


@dataclass(frozen=True)
class Overrun:
    """A limit that a run would overstep: it `wants` more than there is room for."""

    usage: Usage
    wants: int

    def __str__(self) -> str:
        """The limit, what is used and wanted, and when there is room, in words."""
        usage = self.usage
        wants = "one more is" if self.wants == 1 else f"{self.wants} more are"
        if usage.limit.action is LimitedAction.FAILURE:
            wants = "another attempt is"
        if usage.available_at is not None:
            room = f"there is room again at {usage.available_at:%Y-%m-%d %H:%M} UTC"
        else:
            room = f"there is room for {usage.limit.count - usage.used} now"
        urgent = ", and the most urgent come first" if self.wants > 1 else ""
        limit = f"{usage.limit}{usage._for}"
        return f"{limit}: {usage.used} are used, and {wants} wanted; {room}{urgent}"


def usages(
    limits: Sequence[Limit], past: Iterable[LedgerEntry], now: datetime, domain: RegisteredDomain
) -> list[Usage]:
    """Return how much of each limit is used, for each subject that uses any; the fullest first."""
    times = _times(limits, past, domain)
    found = [_usage(limit, subject, times[limit, subject], now) for limit, subject in times]
    return sorted(
        (each for each in found if each.used > 0),
        key=lambda each: (-each.used / each.limit.count, limits.index(each.limit), each.subject),
    )


def overruns(
    limits: Sequence[Limit],
    past: Iterable[LedgerEntry],
    wanted: Sequence[LedgerEntry],
    now: datetime,
    domain: RegisteredDomain,
) -> list[Overrun]:
    """Return which limits would be overstepped if all that is wanted were asked for now.

    `wanted` are orders; each is taken to become a certificate.
    """
    before = _times(limits, past, domain)
    coming = [
        LedgerEntry(what, now, each.identifiers, each.renewal, each.replaces)
        for each in wanted
        for what in (LimitedAction.ORDER, LimitedAction.CERTIFICATE, LimitedAction.FAILURE)
    ]
    found: list[Overrun] = []
    for (limit, subject), times in _times(limits, coming, domain).items():
        usage = _usage(limit, subject, before.get((limit, subject), []), now)
        # A name that will be proved uses nothing of this one, but none may be tried.
        wants = 1 if limit.action is LimitedAction.FAILURE else len(times)
        if usage.used + wants > limit.count:
            found.append(Overrun(usage, wants))
    return found


def usages_for(
    limits: Sequence[Limit],
    past: Iterable[LedgerEntry],
    wanted: LedgerEntry,
    now: datetime,
    domain: RegisteredDomain,
) -> list[Usage]:
    """Return how much is used of what one order counts for, where any is."""
    touched = {(limit, subject) for limit in limits for subject in _subjects(limit, wanted, domain)}
    return [
        each for each in usages(limits, past, now, domain) if (each.limit, each.subject) in touched
    ]


def still_counted(asked: Iterable[LedgerEntry], now: datetime, most: int) -> list[LedgerEntry]:
    """Return what still counts somewhere, the oldest first; of the latest not many more than
    `most` names.
    """
    found: list[LedgerEntry] = []
    size = 0
    for each in sorted(asked, key=lambda each: each.at, reverse=True):
        size += _SIZE_OF_ENTRY + len(each.identifiers)
        if now - each.at >= RETENTION or size > most:
            break
        found.append(each)
    return found[::-1]


def _times(
    limits: Sequence[Limit], asked: Iterable[LedgerEntry], domain: RegisteredDomain
) -> Mapping[tuple[Limit, str], list[datetime]]:
    """Return when something was asked that counts, by limit and subject."""
    found: defaultdict[tuple[Limit, str], list[datetime]] = defaultdict(list)
    for each in asked:
        for limit in limits:
            if limit.action is each.action and not _is_exempt(limit, each):
                for subject in _subjects(limit, each, domain):
                    found[limit, subject].append(each.at)
    return found


def _is_exempt(limit: Limit, asked: LedgerEntry) -> bool:
    """Renewals are no growth: said to be such (RFC 9773) they count nowhere, recognised by their
    names they still count for just these names.
    """
    if limit.action not in {LimitedAction.ORDER, LimitedAction.CERTIFICATE}:
        return False
    return asked.replaces or (asked.renewal and limit.per is not Per.SET)


def _subjects(limit: Limit, asked: LedgerEntry, domain: RegisteredDomain) -> Iterable[str]:
    match limit.per:
        case Per.DOMAIN:
            return {domain(each.removeprefix("*.")) for each in asked.identifiers}
        case Per.SET:
            return (", ".join(sorted(set(asked.identifiers))),)
        case Per.IDENTIFIER:
            return {each.removeprefix("*.") for each in asked.identifiers}
        case _:
            return ("",)


def _usage(limit: Limit, subject: str, times: Sequence[datetime], now: datetime) -> Usage:
    back = limit.count / limit.window.total_seconds()
    used, last = 0.0, now
    for time in sorted(times):
        used = max(used - (time - last).total_seconds() * back, 0.0) if time > last else used
        used, last = used + 1, time
    used = max(used - (now - last).total_seconds() * back, 0.0) if times else 0.0
    too_many = used - (limit.count - 1)
    available_at = now + timedelta(seconds=too_many / back) if too_many > 1e-9 else None
    return Usage(limit, subject, math.ceil(used - 1e-9), available_at)


def _duration(window: timedelta) -> str:
    days, hours = window.days, window.seconds // 3600
    number, unit = (days, "day") if days else (hours, "hour")
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
