"""Windows in which certificates are ordered or deployed: `Mon-Fri 02:00-05:00 Europe/Berlin`.

Pure functions of texts and times; time zones come from the system, or else from `tzdata`. Loading
them takes time, so this module is imported only for a certificate that has windows.

A window follows the clock on the wall. A time that the clock skips counts as the moment at which it
jumps; a window that it skips altogether opens at that moment, for as long as usual. A time that
comes twice counts when it comes first.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from certctl.model.errors import ConfigurationError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.text import escaped

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_FULL_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_EVERY_DAY = tuple(range(7))
_FORM = re.compile(
    r"(?:(?P<days>\S+)\s+)?(?P<start>\S+:\S+?)\s*-\s*(?P<end>\S+:\S+)\s+(?P<zone>\S+)"
)
_WITHOUT_ZONE = re.compile(r"(?:\S+\s+)?\S+:\S+?\s*-\s*\S+:\S+")
_TIMES = re.compile(r"\d:\d\d\s*-\s*\d")
_TIME = re.compile(r"(\d{1,2}):(\d\d)")
_ZONE = re.compile(r"[A-Za-z0-9_+/-]{1,64}")
_DAY = 24 * 60
_EXAMPLE = "such as 'Mon-Fri 02:00-05:00 Europe/Berlin' or '22:00-04:00 UTC'"

_SPAN = timedelta(days=16)
"""Each window opens once a week at least, and lasts a day at most."""

_YEAR = timedelta(days=400)
"""With every change of the clock in it."""

_FIRST, _LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
"""Beyond these, sums of dates overflow; certificates without an end are said to expire in 9999."""


@dataclass(frozen=True)
class Window:
    """Opens on `days` (0 is Monday) at `start` and closes at `end`, in minutes after midnight;
    after 24:00 if it lasts until the next day.
    """

    days: tuple[int, ...]
    start: int
    end: int
    zone: str

    def __str__(self) -> str:
        days = "" if self.days == _EVERY_DAY else f"{_days_text(self.days)} "
        end = self.end if self.end <= _DAY else self.end - _DAY
        return f"{days}{_time_text(self.start)}-{_time_text(end)} {self.zone}"


@dataclass(frozen=True)
class Opening:
    """A time in which a window is open: from `start`, before `end`. Times are UTC."""

    start: datetime
    end: datetime


@dataclass(frozen=True)
class Windows:
    """One or more windows, of which at least one has to be open."""

    windows: tuple[Window, ...]

    def __str__(self) -> str:
        return ", ".join(str(each) for each in self.windows)

    def openings(self, start: datetime, end: datetime) -> list[Opening]:
        """Return when the windows are open between two times, in order, and as one what overlaps or
        follows at once. Openings that begin before `start` or end after `end` are whole.
        """
        start, end = (_within(each, _YEAR) for each in (start, end))
        found = (each for window in self.windows for each in _openings_of(window, start, end))
        merged: list[Opening] = []
        for each in sorted(found, key=lambda opening: opening.start):
            if merged and each.start <= merged[-1].end:
                merged[-1] = Opening(merged[-1].start, max(merged[-1].end, each.end))
            else:
                merged.append(each)
        return [each for each in merged if each.end > start and each.start < end]

    def current(self, now: datetime) -> Opening | None:
        """Return the opening at `now`; None while the windows are closed."""
        now = _within(now)
        found = _openings_around(self, now.date())
        return next((each for each in found if each.start <= now < each.end), None)

    def next_opening(self, now: datetime) -> datetime:
        """Return when the windows open next after `now`; `now` itself while they are open."""
        now = _within(now)
        found = _openings_around(self, now.date())
        return max(now, next(each.start for each in found if each.end > now))

    def last_moment(self, before: datetime, spare: timedelta) -> datetime | None:
        """Return the last moment, not after `before`, at which something can be begun so that
        `spare` (a minute at least) is left of the opening, or the whole of a shorter one; None if
        there is none in the two weeks before.
        """
        before, spare = _within(before), max(spare, timedelta(minutes=1))
        found = _openings_around(self, before.date())
        last = next((each for each in reversed(found) if each.start <= before), None)
        return None if last is None else min(before, max(last.start, last.end - spare))

    def longest_gap(self, now: datetime) -> timedelta:
        """Return how long the windows are closed at most, in this year and the beginning of the
        next.
        """
        return _extremes(self, _year(now))[0]

    def shortest(self, now: datetime) -> timedelta:
        """Return how long the windows are open at least, once they are, in the same time."""
        return _extremes(self, _year(now))[1]


@lru_cache(maxsize=256)
def _openings_around(found: Windows, day: date) -> Sequence[Opening]:
    noon = datetime.combine(day, time(12), UTC)
    return found.openings(noon - _SPAN, noon + _SPAN)


@lru_cache(maxsize=256)
def _extremes(found: Windows, year: int) -> tuple[timedelta, timedelta]:
    start = _within(datetime(year, 1, 1, tzinfo=UTC))
    openings = found.openings(start, start + _YEAR)
    gaps = (after.start - before.end for before, after in pairwise(openings))
    inner = openings[1:-1] or openings  # the first and the last may be parts of longer ones
    return max(gaps, default=timedelta(0)), min(each.end - each.start for each in inner)


@lru_cache(maxsize=256)
def windows(texts: tuple[str, ...]) -> Windows:
    """Return the windows of a specification. Raises `ConfigurationError`."""
    return Windows(tuple(parse_window(each) for each in texts))


def parse_window(text: str) -> Window:
    """Return the window for `[DAYS] HH:MM-HH:MM ZONE`. Raises `ConfigurationError`."""
    given = re.sub(r"\s*,\s*", ",", text.strip())
    form = _FORM.fullmatch(given)
    if len(_TIMES.findall(given)) > 1:
        raise _invalid(given, "it is more than one window", "Give each by itself.")
    if form is None:
        raise _invalid_form(given)
    start, end = _minutes(form["start"], given), _minutes(form["end"], given)
    if start == _DAY:
        raise _invalid(given, "a window cannot start at 24:00", "Start it at 00:00.")
    if start == end:
        raise _invalid(given, "it has no length", "For whole days, give 00:00-24:00.")
    days = _EVERY_DAY if form["days"] is None else _days(form["days"], given)
    _check_zone(form["zone"], given)
    return Window(days, start, end if end > start else end + _DAY, form["zone"])


def canonical_window(value: object) -> str:
    """Return the normal form of a window. Raises `ConfigurationError`."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(
            "a window is a text with days, times and a time zone",
            hint=f"Give one {_EXAMPLE}, or none.",
        )
    return str(parse_window(value))


def order_time(
    order: Windows | None,
    deploy: Windows | None,
    due: datetime,
    *,
    earliest: datetime,
    spare: timedelta,
) -> datetime:
    """Return when to order a certificate that is due at `due`, so that it is deployed in the last
    opening of the windows before that, and ordered in the last one before the deployment. Without a
    window to order in, it is ordered `spare` before the deployment, so that a failure does not miss
    it.

    If there is no such opening since `earliest`, the first one after `due` is used.
    """
    ready, spared = due, timedelta(0)
    if deploy is not None:
        moment = deploy.last_moment(due, spare)
        if moment is not None and moment >= earliest:
            ready, spared = moment, spare
    if order is None:
        return max(ready - spared, min(earliest, ready))
    moment = order.last_moment(ready, spare)
    if moment is not None and moment >= earliest:
        return moment
    return order.next_opening(ready)


def _openings_of(window: Window, start: datetime, end: datetime) -> Iterable[Opening]:
    # No zone is further from UTC than a day.
    day = start.date() - timedelta(days=3)
    last = end.date() + timedelta(days=2)
    while day <= last:
        if day.weekday() in window.days:
            yield _opening_on(day, window)
        day += timedelta(days=1)


@lru_cache(maxsize=4096)
def _opening_on(day: date, window: Window) -> Opening:
    zone = ZoneInfo(window.zone)
    start = _moment(day, window.start, zone)
    end = _moment(day, window.end, zone)
    if end <= start:  # the clock skips it
        end = start + timedelta(minutes=window.end - window.start)
    return Opening(start, end)


def _moment(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    """Return when it is so many minutes after midnight on the wall; if the clock skips that, when
    it jumps.
    """
    midnight = datetime.combine(day, time(0))
    local = (midnight + timedelta(minutes=minutes)).replace(tzinfo=zone)
    after = local.astimezone(UTC)
    if after.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return after
    # The offset from before the jump gives a time after it, and the other way round.
    before = local.replace(fold=1).astimezone(UTC)
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) // 2
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)


def _year(now: datetime) -> int:
    return _within(now).year


def _within(moment: datetime, more: timedelta = timedelta(0)) -> datetime:
    return min(max(moment.astimezone(UTC), _FIRST - more), _LAST + more)


def _minutes(text: str, given: str) -> int:
    found = _TIME.fullmatch(text)
    hours, minutes = (int(found[1]), int(found[2])) if found else (99, 99)
    if minutes > 59 or hours * 60 + minutes > _DAY:
        raise _invalid(given, f"{escaped(text)} is not a time", "Give times from 00:00 to 24:00.")
    return hours * 60 + minutes


def _days(text: str, given: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        start = _day(first, given)
        end = _day(last, given) if dash else start
        found.update((start + step) % 7 for step in range((end - start) % 7 + 1))
    return tuple(sorted(found))


def _day(text: str, given: str) -> int:
    word = text.lower()
    for number, (short, full) in enumerate(zip(_DAYS, _FULL_DAYS, strict=True)):
        if word in {short.lower(), full}:
            return number
    near = difflib.get_close_matches(word, [*map(str.lower, _DAYS), *_FULL_DAYS], n=1, cutoff=0.5)
    hint = "Days are Mon, Tue, Wed, Thu, Fri, Sat and Sun."
    if near:
        hint = f"Did you mean {near[0][:3].capitalize()}? {hint}"
    raise _invalid(given, f"{escaped(text)!r} is not a day of the week", hint)


def _check_zone(zone: str, given: str) -> None:
    try:
        if _ZONE.fullmatch(zone):
            ZoneInfo(zone)
            return
    except (ZoneInfoNotFoundError, OSError, ValueError):
        pass
    near = _nearest_zone(zone)
    hint = f"Did you mean {near}?" if near else "Give one such as Europe/Berlin or UTC."
    raise _invalid(given, f"there is no time zone {escaped(zone)!r}", hint)


def _nearest_zone(zone: str) -> str | None:
    """Return the time zone that was probably meant: by its city, or by a similar name."""
    known = {each.lower(): each for each in sorted(available_timezones())}
    word = zone.lower().replace(" ", "_")
    if word in known:
        return known[word]
    by_city = {each.rpartition("/")[2]: known[each] for each in known if "/" in each}
    if word.rpartition("/")[2] in by_city:
        return by_city[word.rpartition("/")[2]]
    if len(word) < 5:  # CEST and the like say nothing of the place
        return None
    near = difflib.get_close_matches(word, [*known, *by_city], n=1, cutoff=0.75)
    return known.get(near[0]) or by_city[near[0]] if near else None


def _invalid_form(given: str) -> ConfigurationError:
    if _WITHOUT_ZONE.fullmatch(given):
        return _invalid(given, "its time zone is missing", f"Add one: '{escaped(given)} UTC'")
    return _invalid(given, "it is not [DAYS] HH:MM-HH:MM ZONE", f"Give one {_EXAMPLE}.")


def _invalid(given: str, why: str, hint: str) -> ConfigurationError:
    return ConfigurationError(
        f"the window {escaped(given)!r} is not valid: {why}", hint=hint, code="configuration.value"
    )


def _days_text(days: Sequence[int]) -> str:
    """Return days as ranges: `Mon-Fri`, `Mon,Thu`."""
    ranges: list[list[int]] = []
    for day in days:
        if ranges and ranges[-1][-1] == day - 1:
            ranges[-1].append(day)
        else:
            ranges.append([day])
    return ",".join(
        _DAYS[each[0]] if len(each) == 1 else f"{_DAYS[each[0]]}-{_DAYS[each[-1]]}"
        for each in ranges
    )


def _time_text(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
