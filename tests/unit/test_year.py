"""A year of hourly runs for fifty certificates, with the lifetimes of today and of the next years:
none is late, and no limit of the CA is exceeded. `make simulate` does it for a thousand.
"""

from dataclasses import replace
from datetime import timedelta

import pytest

from certctl.model.values import Value
from tests.support.year import DAY, HOUR, LIFETIMES, Fleet, year_of

YEAR = 365 * DAY


@pytest.mark.parametrize("lifetime", LIFETIMES)
@pytest.mark.parametrize("outages", [False, True])
def test_a_year_with_windows(lifetime: timedelta, outages: bool) -> None:
    year = year_of(lifetime, ari=False, windows=True, outages=outages)

    found = Fleet(50, year, seed=7).run(YEAR)

    assert (found.late, found.refused) == (0, 0)
    assert found.least > 1 / 6 - HOUR / lifetime
    assert found.outside == 0
    assert (found.failed > 0) == outages
    # half of a short lifetime is used, and two thirds of a longer one, less what windows take
    used = lifetime * (0.5 if lifetime < 10 * DAY else 2 / 3)
    most = 50 * (YEAR / (used - 4 * DAY) if lifetime > 10 * DAY else YEAR / (used - DAY)) + 50
    assert 50 * (YEAR / used) * 0.8 < found.orders < most


@pytest.mark.parametrize("lifetime", LIFETIMES)
def test_months_by_the_renewal_windows_of_the_ca_with_outages(lifetime: timedelta) -> None:
    year = year_of(lifetime, ari=True, windows=False, outages=True, seed=3)

    found = Fleet(50, replace(year, ari_retry_after=2 * DAY), seed=11).run(YEAR / 3)

    assert (found.late, found.refused) == (0, 0)
    assert found.least > 1 / 6 - HOUR / lifetime
    assert found.requests["renewal information"] > 50 * 100 / 2


def test_validations_that_are_used_again_save_requests() -> None:
    found = {
        reuse: Fleet(10, replace(year_of(160 * HOUR, ari=False, windows=False, outages=False),
                                 reuse=reuse), seed=1).run(60 * DAY)
        for reuse in (7 * HOUR, 10 * DAY)
    }  # fmt: skip

    short, long = found[7 * HOUR], found[10 * DAY]
    assert short.orders == long.orders
    assert short.requests["challenge"] == short.orders
    assert long.requests["challenge"] < 0.7 * long.orders


def test_a_window_that_is_too_rare_makes_nothing_late() -> None:
    sundays = ("Sun 02:00-05:00 UTC",)
    windows: dict[str, Value] = {"order_window": sundays, "deploy_window": sundays}
    year = replace(year_of(160 * HOUR, ari=False, windows=False, outages=False), windows=windows)

    found = Fleet(20, year, seed=5).run(120 * DAY)

    assert found.late == 0
    assert found.least > 1 / 6 - 2 * HOUR / (160 * HOUR)
    assert found.outside > 0
