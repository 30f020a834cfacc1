"""Measures commands for a home directory with many certificates that need nothing.

    python bench/many.py [COUNT]

`list --json` for the first time, when only the rows that were saved with the renewal states are
known; for the first time in a home directory whose states an earlier certctl has saved, without
rows; and again. Then an idle `renew`. Compare times only within one run; each is printed with its
ratio to that of the idle `renew`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.measure import Cost, cost, median, precompile
from tests.support.homes import add_copies

COUNT = 10_000
ROUNDS = 3


def measured(command: list[str], home: Path, prepare: Callable[[Path], None]) -> Cost:
    """Return the median cost of a command, before each of which the home is prepared."""
    costs: list[Cost] = []
    for _ in range(ROUNDS):
        prepare(home)
        costs.append(cost(["certctl", *command, "--home", str(home)]))
    return median(costs)


def as_it_is(_home: Path) -> None:
    """Change nothing."""


def never_listed(home: Path) -> None:
    """Remove the cache of `list`."""
    (home / "list.json").unlink(missing_ok=True)


def without_rows(home: Path) -> None:
    """Leave the renewal states as an earlier certctl wrote them."""
    never_listed(home)
    for path in (home / "renewal").iterdir():
        state = json.loads(path.read_bytes())
        if state.pop("row", None) is not None:
            path.write_text(json.dumps(state))


def main() -> None:
    """Measure, and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    precompile()
    listing = ["list", "--json"]
    with tempfile.TemporaryDirectory(prefix="certctl-bench-") as name:
        home = Path(name) / "home"
        add_copies(home, count)
        found = {
            "idle renew": measured(["renew", "--quiet"], home, as_it_is),
            "first list": measured(listing, home, never_listed),
            "later list": measured(listing, home, as_it_is),
            "first list, no rows": measured(listing, home, without_rows),
        }
    base = found["idle renew"]
    print(f"{count} certificates with nothing due, median of {ROUNDS}:")
    print(f"{'':24}{'seconds':>9}{'CPU':>8}{'ratio':>8}{'MiB':>7}")
    for what, each in found.items():
        print(
            f"{what:24}{each.seconds:9.2f}{each.cpu:8.2f}{each.cpu / base.cpu:8.2f}"
            f"{each.memory:7.0f}"
        )


if __name__ == "__main__":
    main()
