"""When orders are placed so that no limit of a CA is exceeded, and none comes too late."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from certctl.model.ca import LedgerEntry, LimitedAction
from certctl.rules.rate_limits import Limit, Per, usage_of
from certctl.rules.spread import spread

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
ORDERS = Limit("new orders", LimitedAction.ORDER, Per.ACCOUNT, 4, 4 * HOUR)
DOMAIN = Limit("new certificates", LimitedAction.CERTIFICATE, Per.DOMAIN, 2, 10 * HOUR)
LIMITS = (ORDERS, DOMAIN)
COUNTED = (LimitedAction.ORDER, LimitedAction.CERTIFICATE)


def domain(name: str) -> str:
    return name.rpartition(".")[2]


def order(name: str, at: datetime = NOW, *, replaces: bool = False) -> LedgerEntry:
    return LedgerEntry(LimitedAction.ORDER, at, (name,), replaces=replaces)


def hours(wanted: list[LedgerEntry], past: list[LedgerEntry] | None = None) -> list[float]:
    times = spread(LIMITS, past or [], [(each,) for each in wanted], NOW, domain)
    return [round((each - NOW) / HOUR, 1) for each in times]


def test_what_fits_is_ordered_now_and_the_rest_as_capacity_refills() -> None:
    assert hours([order("a.x"), order("b.x"), order("c.x"), order("d.x")]) == [0, 0, 5, 10]


def test_what_waits_for_one_limit_does_not_hold_up_others() -> None:
    found = hours([order("a.x"), order("b.x"), order("c.x"), order("a.y"), order("b.y")])

    assert found == [0, 0, 5, 0, 0]


def test_two_limits_are_both_kept() -> None:
    found = hours([order(f"{number}.{where}") for where in "xyz" for number in range(2)])

    assert found == [0, 0, 0, 0, 1, 2]


def test_a_certificate_with_two_keys_waits_until_there_is_room_for_both() -> None:
    both = [(order("a.x"), order("a.x")), (order("b.x"), order("b.x")), (order("a.y"),)]

    times = spread(LIMITS, [], both, NOW, domain)

    assert [round((each - NOW) / HOUR, 1) for each in times] == [0, 10, 0]


def test_what_was_asked_before_counts() -> None:
    past = [LedgerEntry(LimitedAction.CERTIFICATE, NOW - 5 * HOUR, ("b.x",)) for _ in range(2)]

    assert hours([order("a.x"), order("b.x")], past) == [0, 5]


def test_renewals_by_ari_wait_for_nothing() -> None:
    wanted = [order(f"{number}.x", replaces=True) for number in range(9)]

    assert hours(wanted) == [0] * 9


def test_what_has_a_time_keeps_it_and_its_room() -> None:
    assert hours([order("a.x", NOW + 3 * HOUR), order("b.x"), order("c.x")]) == [3, 0, 5]


@given(
    st.lists(st.sampled_from("xyz"), max_size=30),
    st.lists(st.sampled_from("xyz"), max_size=20),
    st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 12)), max_size=6),
)
def test_no_limit_is_ever_exceeded(
    first: list[str], second: list[str], past: list[tuple[str, int]]
) -> None:
    """The second orders come once the first have their times."""
    before = [
        LedgerEntry(what, NOW - ago * HOUR, (f"p{number}.{where}",))
        for number, (where, ago) in enumerate(past)
        for what in COUNTED
    ]
    orders = [order(f"n{number}.{where}") for number, where in enumerate(first)]
    times = spread(LIMITS, before, [(each,) for each in orders], NOW, domain)
    orders = [replace(each, at=at) for each, at in zip(orders, times, strict=True)]
    before += [
        LedgerEntry(what, NOW, each.identifiers)
        for each in orders
        if each.at == NOW
        for what in COUNTED
    ]
    orders = [each for each in orders if each.at > NOW]
    orders += [order(f"m{number}.{where}") for number, where in enumerate(second)]

    times = spread(LIMITS, before, [(each,) for each in orders], NOW, domain)

    placed = sorted(zip(times, orders, strict=True), key=lambda each: each[0])
    ledger = list(before)
    start = usage_of(LIMITS, before, NOW, domain)
    for at, each in placed:
        assert at >= each.at
        ledger += [LedgerEntry(what, at, each.identifiers) for what in COUNTED]
        for (limit, subject), used in usage_of(LIMITS, ledger, at, domain).items():
            assert used <= max(limit.count, start.get((limit, subject), 0)) + 1e-3


@given(st.permutations([order(f"{number}.x") for number in range(6)]))
def test_the_first_is_the_most_urgent(wanted: list[LedgerEntry]) -> None:
    times = spread(LIMITS, [], [(each,) for each in wanted], NOW, domain)

    assert times == sorted(times)
