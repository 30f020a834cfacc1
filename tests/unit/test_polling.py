"""When an order is looked at again: by what the CA asks, how long it has taken, and how many."""

import pytest

from certctl.rules.polling import authorizations_check, pause_before_poll


def looks(seconds: float, *, requests: int = 1) -> list[float]:
    """When an order is looked at by itself, in seconds from the start, where requests take none."""
    found, waited = [], 0.0
    while waited <= seconds:
        waited += pause_before_poll(waited, None, requests)
        found.append(waited)
    return found[:-1]


def test_the_first_looks_come_soon_and_then_three_in_a_second() -> None:
    first = [0.3 / 64, 0.3 / 32, 0.3 / 16, 0.0375, 0.075, 0.15]

    assert looks(1.6) == pytest.approx([*first, 0.3, 0.6, 0.9, 1.2, 1.5])


@pytest.mark.parametrize("took", [0.31, 0.75, 1.5, 2.0, 2.9])
def test_no_more_than_three_tenths_of_a_second_are_lost_in_the_first_seconds(took: float) -> None:
    assert next(at for at in looks(60) if at >= took) - took <= 0.3


@pytest.mark.parametrize(
    ("waited", "pause"),
    [
        (0.3, 0.3),
        (3.0, 0.3),
        (10.0, 1.0),
        (30.0, 3.0),
        (60.0, 5.0),
        (600.0, 5.0),
        (1800.0, 15.0),
        (3600.0, 30.0),
        (7200.0, 60.0),
        (86400.0, 60.0),
    ],
)
def test_what_takes_long_is_looked_at_less_often(waited: float, pause: float) -> None:
    assert pause_before_poll(waited, None, 1) == pytest.approx(pause)


def test_a_validation_of_hours_takes_few_requests() -> None:
    assert len(looks(60)) < 50
    assert len(looks(600)) < 160
    assert len(looks(6 * 3600)) < 750


@pytest.mark.parametrize("waited", [0.0, 0.2, 2.0, 100.0, 10_000.0])
@pytest.mark.parametrize("asked", [0.1, 1.0, 3.0, 15.0, 60.0])
@pytest.mark.parametrize("requests", [1, 10, 200])
def test_a_retry_after_is_never_undercut(waited: float, asked: float, requests: int) -> None:
    assert pause_before_poll(waited, asked, requests) >= asked


@pytest.mark.parametrize("waited", [0.0, 2.0, 10_000.0])
def test_a_retry_after_decides_however_long_the_order_has_taken(waited: float) -> None:
    assert pause_before_poll(waited, 3.0, 1) == 3.0


@pytest.mark.parametrize("asked", [61.0, 86400.0])
def test_a_ca_that_asks_for_a_day_is_asked_every_minute(asked: float) -> None:
    assert pause_before_poll(0.0, asked, 1) == 60.0


@pytest.mark.parametrize("waited", [0.0, 0.2, 2.0])
def test_a_retry_after_of_nothing_is_none(waited: float) -> None:
    assert pause_before_poll(waited, 0.0, 1) == pause_before_poll(waited, None, 1)


@pytest.mark.parametrize(
    ("requests", "pause"), [(1, 0.3), (15, 0.3), (16, 0.32), (50, 1.0), (500, 10.0)]
)
def test_many_orders_are_each_looked_at_less_often(requests: int, pause: float) -> None:
    assert pause_before_poll(1000.0, 0.01, requests) == pytest.approx(max(requests / 50, 0.01))
    assert pause_before_poll(pause, None, requests) == pytest.approx(pause)


def test_a_thousand_orders_that_wait_a_minute_take_few_requests_each() -> None:
    assert len(looks(60, requests=1000)) <= 7


def test_authorizations_are_read_after_a_second_and_then_ever_less_often() -> None:
    found, checked = [], 0.0
    while checked < 100:
        checked = authorizations_check(checked)
        found.append(checked)

    assert found == [1.25, 5.0, 20.0, 50.0, 80.0, 110.0]
