"""A CA's limits: what counts, how it comes back, and what a run would overstep."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.ca.documented_limits import documented_limits, registered_domains
from certctl.ca.problems import Resource
from certctl.ca.rate_limiter import Rate
from certctl.model.ca import LedgerEntry, LimitedAction
from certctl.rules.rate_limits import (
    RETENTION,
    Limit,
    Per,
    Usage,
    overruns,
    still_counted,
    usages,
    usages_for,
)

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ORDERS = Limit("new orders", LimitedAction.ORDER, Per.ACCOUNT, 300, 3 * HOUR)
DOMAIN = Limit("new certificates", LimitedAction.CERTIFICATE, Per.DOMAIN, 50, 7 * DAY)
SAME = Limit("certificates for the same names", LimitedAction.CERTIFICATE, Per.SET, 5, 7 * DAY)
FAILED = Limit("failed authorizations", LimitedAction.FAILURE, Per.IDENTIFIER, 5, HOUR)
ALL = (ORDERS, DOMAIN, SAME, FAILED)
STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
LETSENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


def last_two(value: str) -> str:
    return ".".join(value.split(".")[-2:])


def certificates(count: int, *names: str, ago: timedelta = timedelta(0)) -> list[LedgerEntry]:
    return [LedgerEntry(LimitedAction.CERTIFICATE, NOW - ago, names)] * count


def order(*names: str, renewal: bool = False, replaces: bool = False) -> LedgerEntry:
    return LedgerEntry(LimitedAction.ORDER, NOW, names, renewal, replaces)


def used(past: list[LedgerEntry], *limits: Limit) -> list[tuple[str, str, int]]:
    found = usages(limits or ALL, past, NOW, last_two)
    return [(each.limit.name, each.subject, each.used) for each in found]


def test_a_chain_lengths_once_for_each_registered_domain_and_for_its_set() -> None:
    past = certificates(1, "b.example.com", "a.example.com", "*.example.org")

    assert used(past) == [
        ("certificates for the same names", "*.example.org, a.example.com, b.example.com", 1),
        ("new certificates", "example.com", 1),
        ("new certificates", "example.org", 1),
    ]


def test_the_order_of_names_makes_no_other_set() -> None:
    past = [*certificates(1, "a.example", "b.example"), *certificates(1, "b.example", "a.example")]

    assert used(past, SAME) == [("certificates for the same names", "a.example, b.example", 2)]


def test_failures_count_for_each_identifier() -> None:
    past = [
        LedgerEntry(LimitedAction.FAILURE, NOW, ("*.a.example",)),
        LedgerEntry(LimitedAction.FAILURE, NOW, ("a.example",)),
    ]

    assert used(past) == [("failed authorizations", "a.example", 2)]


@pytest.mark.parametrize(
    ("ago", "left"),
    [(0 * HOUR, 5), (33 * HOUR, 5), (34 * HOUR, 4), (DAY * 7 / 2, 3), (7 * DAY, 0)],
)
def test_what_was_used_comes_back_evenly(ago: timedelta, left: int) -> None:
    assert sum(count for _, _, count in used(certificates(5, "a.example", ago=ago), SAME)) == left


def test_there_is_room_again_when_one_has_come_back() -> None:
    (full,) = usages([SAME], certificates(5, "a.example", ago=10 * HOUR), NOW, last_two)
    (free,) = usages([SAME], certificates(4, "a.example"), NOW, last_two)

    assert full.available_at is not None
    assert abs(full.available_at - (NOW + 7 * DAY / 5 - 10 * HOUR)) < timedelta(seconds=1)
    assert free.available_at is None


@given(st.lists(st.floats(0, 14 * 86400), max_size=40))
def test_one_is_let_through_at_the_time_that_is_named(seconds: list[float]) -> None:
    past = [
        LedgerEntry(LimitedAction.CERTIFICATE, NOW - timedelta(seconds=each), ("a.b",))
        for each in seconds
    ]
    for usage in usages([SAME], past, NOW, last_two):
        if usage.available_at is None:
            assert usage.used <= 4
            continue
        later = usage.available_at + timedelta(seconds=1)
        assert all(each.available_at is None for each in usages([SAME], past, later, last_two))
        earlier = usage.available_at - timedelta(seconds=1)
        if earlier >= NOW:
            (still,) = usages([SAME], past, earlier, last_two)
            assert still.available_at is not None


def test_a_renewal_counts_for_its_own_names_only() -> None:
    past = [
        LedgerEntry(LimitedAction.ORDER, NOW, ("a.example",), renewal=True),
        LedgerEntry(LimitedAction.CERTIFICATE, NOW, ("a.example",), renewal=True),
    ]

    assert used(past) == [("certificates for the same names", "a.example", 1)]


def test_an_order_that_said_what_it_replaces_counts_nowhere() -> None:
    past = [
        LedgerEntry(LimitedAction.ORDER, NOW, ("a.example",), renewal=True, replaces=True),
        LedgerEntry(LimitedAction.CERTIFICATE, NOW, ("a.example",), renewal=True, replaces=True),
    ]

    assert used(past) == []


def test_what_there_is_room_for_is_no_shortage() -> None:
    wanted = [order(f"n{number}.a{number}.example") for number in range(300)]

    assert overruns([ORDERS], [], wanted, NOW, last_two) == []
    (short,) = overruns([ORDERS], [], [*wanted, order("x.y.example")], NOW, last_two)
    assert (short.requested, short.usage.used, short.usage.available_at) == (301, 0, None)


def test_an_overrun_names_limit_count_and_time() -> None:
    past = certificates(5, "a.example", ago=0 * HOUR)

    (short,) = overruns(ALL, past, [order("a.example", renewal=True)], NOW, last_two)

    assert str(short) == (
        "5 certificates for the same names in 7 days for a.example: 5 used, 1 more "
        "requested; more allowed at 2026-11-27 21:36 UTC"
    )


def test_many_for_one_domain_overrun_the_limit_of_that_domain() -> None:
    wanted = [order(f"n{number}.shop.example") for number in range(60)]

    (short,) = overruns(ALL, [], wanted, NOW, last_two)

    assert str(short) == (
        "50 new certificates in 7 days for shop.example: 0 used, 60 more requested; "
        "50 allowed now, most urgent first"
    )


def test_a_name_that_failed_too_often_is_an_overrun_whatever_order_it_is_in() -> None:
    past = [LedgerEntry(LimitedAction.FAILURE, NOW, ("a.example",))] * 5
    replaced = order("a.example", "b.example", renewal=True, replaces=True)

    (short,) = overruns(ALL, past, [replaced], NOW, last_two)
    assert (short.usage.subject, short.requested) == ("a.example", 1)
    assert overruns(ALL, past[:4], [replaced], NOW, last_two) == []


def test_only_what_an_order_counts_for_concerns_it() -> None:
    past = [*certificates(2, "a.x.example"), *certificates(3, "a.y.example")]

    found = usages_for(ALL, past, order("b.y.example"), NOW, last_two)

    assert [str(each) for each in found] == [
        "3 of 50 new certificates in 7 days for y.example",
    ]


def test_what_counts_nowhere_any_more_is_forgotten() -> None:
    recent = certificates(2, "a.example", ago=RETENTION - HOUR)
    old = certificates(3, "a.example", ago=RETENTION)

    assert still_counted([*old, *recent], NOW, 1000) == recent


def test_the_oldest_go_first_where_there_is_too_much() -> None:
    asked = [
        LedgerEntry(LimitedAction.ORDER, NOW - timedelta(seconds=each), ("a.b",) * 6)
        for each in range(50)
    ]

    left = still_counted(asked, NOW, 100)

    assert left == sorted(asked[:10], key=lambda each: each.at)


def test_only_known_cas_have_limits() -> None:
    assert {each.window <= RETENTION for each in documented_limits(LETSENCRYPT).limits} == {True}
    assert documented_limits("https://ca.example/directory").limits == ()
    assert documented_limits("https://ca.example/directory").rates == {}


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        ("example.com", "example.com"),
        ("a.b.example.com", "example.com"),
        ("new.blog.example.co.uk", "example.co.uk"),
        ("someone.github.io", "someone.github.io"),
        ("a.xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("www.xn--85x722f.xn--55qx5d.cn", "xn--85x722f.xn--55qx5d.cn"),
        ("com", "com"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_the_registered_domain_is_that_of_the_public_suffix_list(value: str, domain: str) -> None:
    assert registered_domains()(value) == domain


def test_a_usage_is_said_in_words() -> None:
    assert str(Usage(ORDERS, "", 290, None)) == "290 of 300 new orders in 3 hours"
    assert str(Usage(FAILED, "a.b", 1, None)) == "1 of 5 failed authorizations in 1 hour for a.b"


def test_staging_has_request_rates_of_its_own() -> None:
    production, staging = documented_limits(LETSENCRYPT), documented_limits(STAGING)

    assert production.others == Rate(250, 125)
    assert production.rates[Resource.NEW_ORDER] == Rate(300, 200)
    assert staging.others == Rate(20, 20)
    assert staging.rates[Resource.NEW_ORDER] == Rate(20, 40)
    same = set(production.rates) - {Resource.NEW_ORDER}
    assert {production.rates[each] == staging.rates[each] for each in same} == {True}
