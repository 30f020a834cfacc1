"""What `certctl report` shows: every certificate, what renews on which day, and what limits its CA
documents.
"""

from __future__ import annotations

import platform
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from certctl.ca.directories import label
from certctl.ca.documented_limits import documented_limits
from certctl.engine.order.rate_limits import usage_of
from certctl.engine.rows import CertificateView
from certctl.engine.run import Run
from certctl.inspection.overview import overview
from certctl.model.ca import LimitedAction
from certctl.model.lazy_dataclass import dataclass
from certctl.rules.rate_limits import Per

_DAY = timedelta(days=1)
_MOST_USAGES = 10


@dataclass(frozen=True)
class PlannedDay:
    """How many certificates of one CA are to be renewed on a day (UTC); `allowed` is how many
    orders a day its documented limit allows one account, None if it documents none.
    """

    day: date
    ca: str
    count: int
    allowed: int | None


@dataclass(frozen=True)
class LimitsOfCa:
    """The limits of a CA that are used by now, in words, the fullest first."""

    ca: str
    used: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Something that certificates are deployed to or checked at, such as `nginx`, with their
    names, how many of them it does not have yet, and when the last live check passed.
    """

    place: str
    names: tuple[str, ...]
    pending: int
    verified_at: datetime | None


@dataclass(frozen=True)
class ReportData:
    """Everything on the page, as of `made_at` (UTC)."""

    made_at: datetime
    host: str
    home: str
    views: tuple[CertificateView, ...]
    days: tuple[PlannedDay, ...]
    limits: tuple[LimitsOfCa, ...]
    places: tuple[Place, ...]


def report_data(run: Run) -> ReportData:
    """Return what the report shows. Asks no CA."""
    now = run.services.clock.now()
    views = overview(run)
    return ReportData(
        now,
        platform.node(),
        run.services.tree.home,
        tuple(views),
        planned_days(views, now),
        tuple(_limits(run)),
        places(views),
    )


def planned_days(views: Sequence[CertificateView], now: datetime) -> tuple[PlannedDay, ...]:
    """Return how many certificates of each CA are renewed on which day, in the order of the days.
    What is overdue is renewed today.
    """
    counts: Counter[tuple[date, str]] = Counter()
    for each in views:
        if each.renews_at is not None and each.autorenew:
            counts[max(each.renews_at, now).date(), each.first_ca] += 1
    return tuple(
        PlannedDay(day, label(url), count, _orders_per_day(url))
        for (day, url), count in sorted(counts.items())
    )


def places(views: Sequence[CertificateView]) -> tuple[Place, ...]:
    """Return where certificates are served: what most of them are deployed to comes first."""
    found: defaultdict[str, list[CertificateView]] = defaultdict(list)
    for each in views:
        for place in each.places if each.live else ():
            found[place].append(each)
    return tuple(
        Place(
            place,
            tuple(each.name for each in there),
            sum(not each.deployed for each in there),
            max((each.verified_at for each in there if each.verified_at), default=None),
        )
        for place, there in sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    )


def _orders_per_day(ca_url: str) -> int | None:
    for limit in documented_limits(ca_url).limits:
        if limit.action is LimitedAction.ORDER and limit.per is Per.ACCOUNT:
            return int(limit.count * _DAY / limit.window)
    return None


def _limits(run: Run) -> list[LimitsOfCa]:
    found: list[LimitsOfCa] = []
    for account in run.services.records.accounts():
        used = [each for each in usage_of(account, run) if each.used][:_MOST_USAGES]
        if used:
            found.append(LimitsOfCa(label(account.directory_url), tuple(map(str, used))))
    return found
