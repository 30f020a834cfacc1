"""A CA's rate limits: how much of them is used, when more requests are allowed, and which of them a
run would exceed.

Pure functions of the ledger. They count as Let's Encrypt does: used capacity refills evenly over
the limit's window. `certctl.ca.documented_limits` has the limits of each CA. The CA's answer is
final, since other clients may use the same limits.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from certctl.model.ca import LedgerEntry, LimitedAction
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import CertificateSpec
from certctl.model.status import CertificateStatus
from certctl.rules.ari import renewal_info_for
from certctl.rules.renewal import parts_of, predecessor

RETENTION = timedelta(days=7)
"""The longest window of a known CA; older entries are dropped."""

_SIZE_OF_ENTRY = 4
"""The size of an entry in addition to its names, in names."""

RegisteredDomain = Callable[[str], str]
"""Returns the registered domain of an identifier's value; for an IP address, the address."""


class Per(StrEnum):
    """What a limit applies to; each is counted separately."""

    CA = "ca"
    ACCOUNT = "account"
    DOMAIN = "registered_domain"
    SET = "set_of_names"
    IDENTIFIER = "identifier"


@dataclass(frozen=True)
class Limit:
    """At most `count` of an action per `window`; `name` is its usual name."""

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
    """A limit that a run would exceed: it needs `requested` more."""

    usage: Usage
    requested: int

    def __str__(self) -> str:
        """The limit, its usage, what is requested, and when more is allowed, in words."""
        usage = self.usage
        requested = f"{self.requested} more requested"
        if usage.limit.action is LimitedAction.FAILURE:
            requested = "another attempt requested"
        if usage.available_at is not None:
            available = f"more allowed at {usage.available_at:%Y-%m-%d %H:%M} UTC"
        else:
            available = f"{usage.limit.count - usage.used} allowed now"
        urgent = ", most urgent first" if self.requested > 1 else ""
        limit = f"{usage.limit}{usage._for}"
        return f"{limit}: {usage.used} used, {requested}; {available}{urgent}"


def order_for(spec: CertificateSpec, status: CertificateStatus, now: datetime) -> LedgerEntry:
    """Return how an order for a certificate, with its first key type, would count towards its CA's
    limits.
    """
    return orders_for(spec, status, now)[0]


def orders_for(
    spec: CertificateSpec, status: CertificateStatus, now: datetime
) -> tuple[LedgerEntry, ...]:
    """Return how the orders for a certificate, one for each key type, would count towards its CA's
    limits.
    """
    parts = parts_of(spec)
    return tuple(_order_for(each, status, now, alone=len(parts) == 1) for each in parts)


def _order_for(
    spec: CertificateSpec, status: CertificateStatus, now: datetime, *, alone: bool
) -> LedgerEntry:
    live, names = status.live, tuple(each.value for each in spec.identifiers)
    if live is None or live.request.ca != spec.ca:
        return LedgerEntry(LimitedAction.ORDER, now, names)
    replaced = predecessor(live, spec, alone=alone)
    info = None if replaced is None else renewal_info_for(replaced, status.renewal_state)
    return LedgerEntry(
        LimitedAction.ORDER,
        now,
        names,
        renewal=set(live.request.identifiers) == set(spec.identifiers),
        replaces=info is not None and info.start <= now < live.not_after,
    )


def usages(
    limits: Sequence[Limit], past: Iterable[LedgerEntry], now: datetime, domain: RegisteredDomain
) -> list[Usage]:
    """Return the usage of each limit for each subject with any, highest usage first."""
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
    """Return the limits that would be exceeded if all `wanted` orders were placed now.

    Each order is assumed to result in a certificate.
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
        # Successful validations do not count, but once it is used up no attempt is allowed.
        requested = 1 if limit.action is LimitedAction.FAILURE else len(times)
        if usage.used + requested > limit.count:
            found.append(Overrun(usage, requested))
    return found


def usages_for(
    limits: Sequence[Limit],
    past: Iterable[LedgerEntry],
    wanted: LedgerEntry,
    now: datetime,
    domain: RegisteredDomain,
) -> list[Usage]:
    """Return the usage of the limits that one order counts towards, if there is any."""
    touched = {(limit, subject) for limit in limits for subject in _subjects(limit, wanted, domain)}
    return [
        each for each in usages(limits, past, now, domain) if (each.limit, each.subject) in touched
    ]


def still_counted(asked: Iterable[LedgerEntry], now: datetime, most: int) -> list[LedgerEntry]:
    """Return the entries that still count, oldest first, dropping the oldest beyond a total size of
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


def counted_towards(
    limits: Sequence[Limit], asked: LedgerEntry, domain: RegisteredDomain
) -> list[tuple[Limit, str]]:
    """Return the limits that an entry counts towards, each with the subject."""
    return [
        (limit, subject)
        for limit in limits
        if limit.action is asked.action and not _is_exempt(limit, asked)
        for subject in _subjects(limit, asked, domain)
    ]


def usage_of(
    limits: Sequence[Limit], past: Iterable[LedgerEntry], now: datetime, domain: RegisteredDomain
) -> dict[tuple[Limit, str], float]:
    """Return how much of each limit is used now, for each subject with any; not rounded."""
    return {
        (limit, subject): _used(limit, times, now)
        for (limit, subject), times in _times(limits, past, domain).items()
    }


def _times(
    limits: Sequence[Limit], asked: Iterable[LedgerEntry], domain: RegisteredDomain
) -> Mapping[tuple[Limit, str], list[datetime]]:
    """Return the times of the entries that count, by limit and subject."""
    found: defaultdict[tuple[Limit, str], list[datetime]] = defaultdict(list)
    for each in asked:
        for key in counted_towards(limits, each, domain):
            found[key].append(each.at)
    return found


def _is_exempt(limit: Limit, asked: LedgerEntry) -> bool:
    """Return whether an entry does not count towards a limit.

    Renewals by ARI (RFC 9773) count towards no limit; other renewals, recognised by their names,
    count only towards the limit per set of names.
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
    refill = limit.count / limit.window.total_seconds()
    used = _used(limit, times, now)
    too_many = used - (limit.count - 1)
    available_at = now + timedelta(seconds=too_many / refill) if too_many > 1e-9 else None
    return Usage(limit, subject, math.ceil(used - 1e-9), available_at)


def _used(limit: Limit, times: Sequence[datetime], now: datetime) -> float:
    refill = limit.count / limit.window.total_seconds()
    used, last = 0.0, now
    for time in sorted(times):
        used = max(used - (time - last).total_seconds() * refill, 0.0) if time > last else used
        used, last = used + 1, time
    return max(used - (now - last).total_seconds() * refill, 0.0) if times else 0.0


def _duration(window: timedelta) -> str:
    days, hours = window.days, window.seconds // 3600
    number, unit = (days, "day") if days else (hours, "hour")
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
