"""Windows in which certificates are ordered and deployed: what a text means, and when they open."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certctl.model.errors import ConfigurationError
from certctl.rules.windows import (
    Opening,
    canonical_window,
    order_time,
    parse_window,
    windows,
)

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
START = datetime(2027, 1, 1, tzinfo=UTC)

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",  # half an hour off
    "Australia/Lord_Howe",  # its clocks change by half an hour, in the southern summer
    "Pacific/Auckland",
    "America/Santiago",
    "Asia/Kolkata",  # no change
    "Africa/Casablanca",  # back for a month of the year
    "Pacific/Apia",
    "Asia/Kathmandu",
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def opening(start: str, end: str) -> Opening:
    return Opening(at(start), at(end))


# -- texts


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("Mon-Fri 02:00-05:00 Europe/Berlin", "Mon-Fri 02:00-05:00 Europe/Berlin"),
        ("  mon-friday  2:00 - 5:00   Europe/Berlin ", "Mon-Fri 02:00-05:00 Europe/Berlin"),
        ("22:00-04:00 UTC", "22:00-04:00 UTC"),
        ("Mon-Sun 00:00-24:00 UTC", "00:00-24:00 UTC"),
        ("Fri-Mon 01:00-02:00 UTC", "Mon,Fri-Sun 01:00-02:00 UTC"),
        ("Thu, Mon 01:00-02:00 UTC", "Mon,Thu 01:00-02:00 UTC"),
        ("Sun 18:00-00:00 UTC", "Sun 18:00-24:00 UTC"),
    ],
)
def test_a_window_has_a_normal_form(text: str, canonical: str) -> None:
    assert canonical_window(text) == canonical
    assert canonical_window(canonical) == canonical


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "a window is a text", "Give one such as"),
        ("now", "it is not [DAYS] HH:MM-HH:MM ZONE", "Give one such as"),
        ("Mon-Fri 02:00-05:00", "its time zone is missing", "Add one: 'Mon-Fri 02:00-05:00 UTC'"),
        ("02:00-05:00 Europe/Belin", "no time zone 'Europe/Belin'", "Did you mean Europe/Berlin?"),
        ("02:00-05:00 europe/berlin", "no time zone", "Did you mean Europe/Berlin?"),
        ("02:00-05:00 Berlin", "no time zone 'Berlin'", "Did you mean Europe/Berlin?"),
        ("02:00-05:00 CEST", "no time zone 'CEST'", "Give one such as Europe/Berlin or UTC."),
        ("02:00-05:00 ../etc/passwd", "no time zone", "Give one such as"),
        ("02:00-05:00 Europe", "no time zone 'Europe'", ""),
        ("Mom 02:00-05:00 UTC", "'Mom' is not a day of the week", "Did you mean Mon?"),
        ("Mon- 02:00-05:00 UTC", "'' is not a day of the week", "Days are Mon"),
        ("Mo-Fr 02:00-05:00 UTC", "'Mo' is not a day of the week", "Days are Mon"),
        ("25:00-26:00 UTC", "25:00 is not a time", "Give times from 00:00 to 24:00."),
        ("02:60-03:00 UTC", "02:60 is not a time", "Give times"),
        ("24:00-02:00 UTC", "cannot start at 24:00", "Start it at 00:00."),
        ("02:00-02:00 UTC", "it has no length", "For whole days, give 00:00-24:00."),
        ("1:00-2:00 UTC, 3:00-4:00 UTC", "it is more than one window", "Give each by itself."),
        ("Mon 02:00-05:00 U\x1b[31m", "no time zone", "Give one such as"),
    ],
)
def test_what_is_wrong_with_a_window_is_said(text: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        canonical_window(text)

    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
    assert (caught.value.message + (caught.value.hint or "")).isprintable()


# -- openings


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_opens() -> None:
    found = windows(("Sat 22:00-04:00 UTC",))

    assert found.openings(START, START + 7 * DAY) == [
        opening("2027-01-02T22:00", "2027-01-03T04:00")
    ]
    assert found.current(at("2027-01-03T03:59")) is not None
    assert found.current(at("2027-01-03T04:00")) is None
    assert found.current(at("2027-01-02T03:00")) is None
    assert found.next_opening(at("2027-01-03T02:00")) == at("2027-01-03T02:00")
    assert found.next_opening(at("2027-01-03T04:00")) == at("2027-01-09T22:00")


def test_windows_that_touch_or_overlap_are_one() -> None:
    found = windows(("Mon 22:00-24:00 UTC", "Tue 00:00-02:00 UTC", "Tue 01:00-03:00 UTC"))

    assert found.openings(START, START + 7 * DAY) == [
        opening("2027-01-04T22:00", "2027-01-05T03:00")
    ]
    assert found.shortest(START) == 5 * HOUR
    assert found.longest_gap(START) == 7 * DAY - 5 * HOUR


def test_a_window_of_all_days_never_closes() -> None:
    found = windows(("00:00-24:00 Europe/Berlin",))

    assert found.longest_gap(START) == timedelta(0)
    assert found.next_opening(START) == START


@pytest.mark.parametrize(
    ("text", "day", "start", "end"),
    [
        # clocks go from 02:00 to 03:00 on 28 March, and from 03:00 to 02:00 on 31 October
        ("01:00-04:00 Europe/Berlin", "2027-03-28", "00:00", "02:00"),
        ("01:00-04:00 Europe/Berlin", "2027-10-31", "2027-10-30T23:00", "03:00"),
        ("01:30-02:30 Europe/Berlin", "2027-03-28", "00:30", "01:00"),  # until the jump
        ("02:30-03:30 Europe/Berlin", "2027-03-28", "01:00", "01:30"),  # from the jump
        ("02:00-03:00 Europe/Berlin", "2027-03-28", "01:00", "02:00"),  # skipped: after it
        ("02:15-02:45 Europe/Berlin", "2027-03-28", "01:00", "01:30"),
        ("02:00-02:30 Europe/Berlin", "2027-10-31", "00:00", "00:30"),  # the first of the two
        ("01:30-02:30 Europe/Berlin", "2027-10-31", "2027-10-30T23:30", "00:30"),
        ("02:30-03:30 Europe/Berlin", "2027-10-31", "00:30", "02:30"),
        # half an hour, at 02:00 on 3 October, and back at 02:00 on 4 April
        ("02:00-02:30 Australia/Lord_Howe", "2027-10-03", "2027-10-02T15:30", "2027-10-02T16:00"),
        ("01:00-03:00 Australia/Lord_Howe", "2027-04-04", "2027-04-03T14:00", "2027-04-03T16:30"),
        # the southern summer ends on 4 April at 03:00, and begins on 26 September at 02:00
        ("02:00-03:00 Pacific/Auckland", "2027-04-04", "2027-04-03T13:00", "2027-04-03T15:00"),
        ("02:00-03:00 Pacific/Auckland", "2027-09-26", "2027-09-25T14:00", "2027-09-25T15:00"),
        # midnight itself is skipped on 5 September
        ("00:00-01:00 America/Santiago", "2027-09-05", "04:00", "05:00"),
        ("23:00-01:00 America/Santiago", "2027-09-04", "2027-09-05T03:00", "2027-09-05T04:00"),
        ("02:00-03:00 Asia/Kolkata", "2027-03-28", "2027-03-27T20:30", "2027-03-27T21:30"),
    ],
)
def test_a_window_follows_the_clock_on_the_wall(text: str, day: str, start: str, end: str) -> None:
    zone = ZoneInfo(text.rpartition(" ")[2])
    found = windows((text,))
    local = datetime.fromisoformat(day)
    begin = local.replace(tzinfo=zone).astimezone(UTC)
    expected = [at(each if "T" in each else f"{day}T{each}") for each in (start, end)]

    here = [
        each
        for each in found.openings(begin - DAY, begin + 2 * DAY)
        if each.start.astimezone(zone).date() == local.date()
    ]

    assert here == [Opening(*expected)]


def test_a_day_that_was_skipped_altogether_does_not_lose_its_window() -> None:
    found = windows(("Fri 10:00-12:00 Pacific/Apia",))  # there was no 30 December 2011, a Friday

    assert opening("2011-12-30T10:00", "2011-12-30T12:00") in found.openings(
        at("2011-12-29T00:00"), at("2012-01-02T00:00")
    )


@pytest.mark.parametrize("moment", ["0001-01-01T00:00", "9999-12-31T23:59"])
def test_no_date_is_too_far_away(moment: str) -> None:
    found = windows(("Sun 02:00-03:00 Pacific/Auckland",))

    found.last_moment(at(moment), HOUR)
    found.next_opening(at(moment))
    assert found.longest_gap(at(moment)) > 6 * DAY


# -- properties

MINUTES = st.integers(0, 24 * 60 - 1)
MOMENTS = st.integers(0, 60 * 24 * 730).map(lambda each: START + each * MINUTE)


@st.composite
def texts(draw: st.DrawFn) -> str:
    start, end = draw(MINUTES), draw(MINUTES)
    if start == end:
        end = (end + 1) % (24 * 60)
    days = draw(st.sampled_from(["", "Mon ", "Sun ", "Mon-Fri ", "Sat,Sun ", "Tue,Thu "]))
    times = f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
    return f"{days}{times} {draw(st.sampled_from(ZONES))}"


SEVERAL = st.lists(texts(), min_size=1, max_size=3).map(tuple)


@given(texts())
def test_what_is_printed_is_read_again(text: str) -> None:
    assert str(parse_window(str(parse_window(text)))) == str(parse_window(text))


@given(texts(), MOMENTS)
@settings(max_examples=300)
def test_a_window_is_open_when_the_clock_on_the_wall_says_so(text: str, now: datetime) -> None:
    window = parse_window(text)
    local = now.astimezone(ZoneInfo(window.zone))
    if any(
        (local + step).utcoffset() != (local - DAY).utcoffset()
        for step in (timedelta(0), DAY, -2 * DAY)
    ):
        return  # the clocks change: see above
    minutes = local.hour * 60 + local.minute
    yesterday = (local.weekday() - 1) % 7
    expected = (local.weekday() in window.days and window.start <= minutes < window.end) or (
        yesterday in window.days and minutes + 24 * 60 < window.end
    )

    assert (windows((text,)).current(now) is not None) == expected


@given(SEVERAL, MOMENTS)
def test_openings_are_apart_in_order_and_not_empty(several: tuple[str, ...], now: datetime) -> None:
    found = windows(several).openings(now, now + 30 * DAY)

    assert all(each.start < each.end for each in found)
    assert all(before.end < after.start for before, after in pairwise(found))


@given(SEVERAL, MOMENTS)
def test_the_next_opening_is_the_first_moment_that_is_open(
    several: tuple[str, ...], now: datetime
) -> None:
    found = windows(several)

    opens = found.next_opening(now)

    assert now <= opens <= now + 8 * DAY
    assert found.current(opens) is not None
    assert opens == now or found.current(opens - timedelta(seconds=1)) is None
    assert opens == now or found.openings(now, opens) == []


@given(SEVERAL, MOMENTS, st.integers(0, 48).map(lambda each: each * HOUR))
def test_the_last_moment_is_open_and_leaves_time(
    several: tuple[str, ...], before: datetime, spare: timedelta
) -> None:
    found = windows(several)

    moment = found.last_moment(before, spare)

    assert moment is not None
    assert before - 8 * DAY <= moment <= before
    current = found.current(moment)
    assert current is not None
    assert current.end - moment >= min(spare, current.end - current.start)
    later = [each for each in found.openings(current.end, before) if each.start < before]
    assert later == []


@given(SEVERAL, MOMENTS)
def test_no_gap_is_longer_than_the_longest(several: tuple[str, ...], now: datetime) -> None:
    found = windows(several)

    opens = found.next_opening(now)

    # the extremes are those of one year, and clocks change on other days in the next
    assert opens - now <= found.longest_gap(now) + 2 * HOUR


@given(
    st.none() | SEVERAL,
    st.none() | SEVERAL,
    MOMENTS,
    st.sampled_from([160 * HOUR, 45 * DAY, 64 * DAY, 90 * DAY, 398 * DAY]),
)
def test_an_order_comes_before_its_deployment_and_both_in_their_windows(
    order: tuple[str, ...] | None,
    deploy: tuple[str, ...] | None,
    issued: datetime,
    lifetime: timedelta,
) -> None:
    due = issued + lifetime * (0.5 if lifetime < 10 * DAY else 2 / 3)
    ordered = windows(order) if order else None
    deployed = windows(deploy) if deploy else None
    earliest, spare = issued + lifetime / 4, min(DAY, lifetime / 20)

    at_time = order_time(ordered, deployed, due, earliest=earliest, spare=spare)

    assert at_time >= earliest
    if ordered is not None:
        assert ordered.current(at_time) is not None
    ready = due
    if deployed is not None:
        moment = deployed.last_moment(due, spare)
        ready = moment if moment is not None and moment >= earliest else due
    if at_time > ready:  # there was no opening to order in since the earliest
        assert ordered is not None
        last = ordered.last_moment(ready, spare)
        assert last is not None
        assert last < earliest
        assert at_time == ordered.next_opening(ready)
