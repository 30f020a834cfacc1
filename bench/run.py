"""Single issuances: certctl beside other ACME clients, against one Pebble, in one run.

For each client that is installed: one certificate of one name and one of fifty, by a command of
its own, close to the CA and with 50 ms added each way. Pebble validates at once and rejects no
nonce. Accounts are made beforehand, untimed. In each round every client has its turn, and the
figures are medians (one round where a client is slow); times are only worth comparing within a run,
so each stands beside its ratio to certctl's. Far away, `waiting` is the time in which something was
under way to the CA and back.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.clients import NAMES, Client, clients, served, version
from bench.measure import Cost, cost, median, precompiled
from tests.lab.distance import Distance
from tests.lab.pebble import ChallengeTestServer, PebbleServer

EACH_WAY = 0.05
MANY = 50
PATIENCE = 20.0
"""Seconds; what takes a client longer is measured once, and not at all where the CA is far away."""

_numbers = itertools.count()


def obtain(client: Client, pebble: PebbleServer, count: int) -> Cost:
    """Return what it takes to obtain one certificate of so many new names."""
    number = next(_numbers)
    names = [f"n{index}.c{number}.example" for index in range(count)]
    with served(client, pebble):
        return cost(client.command(names), requests=pebble.request_count, **client.variables)


def compare(
    what: str, present: Sequence[Client], pebble: PebbleServer, count: int, rounds: int
) -> set[str]:
    """Print what one certificate of so many names takes; return the clients that took long."""
    taken: defaultdict[str, list[Cost]] = defaultdict(list)
    for _ in range(rounds):
        for client in present:
            if not any(each.seconds > PATIENCE for each in taken[client.name]):
                taken[client.name].append(obtain(client, pebble, count))
    base = median(taken["certctl"])
    print(f"\n{what}, the median of {rounds}:")
    print(f"{'':24}{'seconds':>9}{'ratio':>8}{'CPU':>8}{'ratio':>8}{'MiB':>7}{'requests':>10}")
    for client in present:
        found = median(taken[client.name])
        print(
            f"{version(client):24}{found.seconds:9.2f}{found.seconds / base.seconds:8.2f}"
            f"{found.cpu:8.2f}{found.cpu / base.cpu:8.2f}{found.memory:7.0f}{found.requests:10}"
        )
    return {name for name, costs in taken.items() if median(costs).seconds > PATIENCE}


def waiting(client: Client, pebble: PebbleServer, far: Distance, rounds: int) -> None:
    """Print how much of certctl's time is not spent waiting for what is far away."""
    for count in (1, MANY):
        shares, trips = [], []
        for _ in range(rounds):
            far.waited()
            took, waited = obtain(client, pebble, count), far.waited()
            shares.append((took.seconds - waited.seconds, waited.seconds))
            trips.append(waited.seconds / (2 * EACH_WAY))
        own, waited_for = sorted(shares)[rounds // 2]
        print(
            f"certctl, {count:2} names: waiting {waited_for:.2f} s, which is "
            f"{sorted(trips)[rounds // 2]:.1f} round trips, and {own:.2f} s besides "
            f"({own / waited_for:.0%})"
        )


@contextmanager
def quick_pebble(directory: Path) -> Iterator[PebbleServer]:
    """Run a Pebble that validates at once and refuses no nonce, with its files in `directory`."""
    for part in ("dns", "pebble"):
        (directory / part).mkdir()
    with (
        ChallengeTestServer(directory=directory / "dns") as dns,
        PebbleServer(directory=directory / "pebble", dns_server=dns.dns_address) as pebble,
    ):
        yield pebble


def made_ready(pebble: PebbleServer, directory_url: str, directory: Path) -> list[Client]:
    """Return the clients that are there, each with an account and one certificate."""
    present = clients(pebble, directory_url, directory)
    for client in present:
        if client.prepare:
            cost(client.prepare, **client.variables)
        obtain(client, pebble, 1)
    return present


def main() -> None:
    """Measure every client that is installed, and print the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    precompiled()
    with tempfile.TemporaryDirectory(prefix="certctl-bench-") as name:
        directory = Path(name)
        with quick_pebble(directory) as pebble:
            near = made_ready(pebble, pebble.directory_url, directory / "near")
            missing = set(NAMES) - {each.name for each in near}
            if missing:
                print(f"not usable here, so not compared: {', '.join(sorted(missing))}")
            compare("one name", near, pebble, 1, rounds)
            slow = compare(f"{MANY} names", near, pebble, MANY, rounds)
            with Distance(pebble.port, EACH_WAY) as far:
                url = f"https://127.0.0.1:{far.port}/dir"
                there = made_ready(pebble, url, directory / "far")
                away = f"{EACH_WAY * 1000:.0f} ms away"
                compare(f"one name, {away}", there, pebble, 1, rounds)
                quick = [each for each in there if each.name not in slow]
                compare(f"{MANY} names, {away}", quick, pebble, MANY, min(rounds, 3))
                waiting(there[0], pebble, far, rounds)


if __name__ == "__main__":
    main()
