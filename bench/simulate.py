"""A year of hourly runs for a thousand certificates, with the lifetimes of today and of the years
to come, with and without renewal information and windows. The CA is out of service now and then.

Prints what came of each, and fails if a certificate was late, or a limit of the CA was exceeded.
`python bench/simulate.py 200` takes another number.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.year import DAY, LIFETIMES, Figures, Fleet, year_of

Case = tuple[int, timedelta, bool, bool]


def simulated(case: Case) -> Figures:
    count, lifetime, ari, windows = case
    year = year_of(lifetime, ari=ari, windows=windows, outages=True)
    return Fleet(count, replace(year, ari_retry_after=DAY), seed=7).run(365 * DAY)


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    cases: list[Case] = [
        (count, *each) for each in product(LIFETIMES, (False, True), (False, True))
    ]
    bad = 0
    with ProcessPoolExecutor() as pool:
        for (_, lifetime, ari, windows), found in zip(
            cases, pool.map(simulated, cases), strict=True
        ):
            by = "renewal information" if ari else "lifetime"
            hours = lifetime.total_seconds() / 3600
            print(f"{hours:.0f} h, by {by}{', in windows' if windows else ''}: {found}", flush=True)
            bad += found.late + found.refused
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
