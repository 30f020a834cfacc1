"""Compares single issuances by certctl and other ACME clients.

The first table is for a CA that takes its time, as a public one does: it validates for 1.5 s, and
then issues after the 3 s that its `Retry-After` asks for. The others are for one Pebble: each
installed client obtains a certificate with one name and one with fifty, in separate commands,
first close to the CA and then with 50 ms of added latency each way. Pebble validates without delay
and rejects no nonces. Accounts are registered in advance and not timed. In each round every client
runs once, and the figures are medians (slow clients run in one round only). Compare times only
within one run; each is printed with its ratio to certctl's. With added latency, `waiting` is the
time during which data was on its way to or from the CA.
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

from bench.clients import NAMES, Ca, Client, clients, served, version
from bench.measure import Cost, cost, median, precompile
from bench.slow_ca import RETRY_AFTER, VALIDATION_SECONDS, slow_ca
from tests.lab.distance import Distance
from tests.lab.pebble import ChallengeTestServer, PebbleServer

EACH_WAY = 0.05
MANY = 50
SLOW = 20.0
"""Seconds; a client that takes longer is measured once, and not at all with added latency."""

_numbers = itertools.count()


def obtain(client: Client, ca: Ca, count: int) -> Cost:
    """Return what it costs to obtain one certificate with `count` new names."""
    number = next(_numbers)
    names = [f"n{index}.c{number}.example" for index in range(count)]
    with served(client, ca):
        return cost(client.command(names), requests=ca.request_count, **client.variables)


def compare(what: str, present: Sequence[Client], ca: Ca, count: int, rounds: int) -> set[str]:
    """Print what one certificate with `count` names costs; return the names of slow clients."""
    present = [each for each in present if count <= each.most]
    taken: defaultdict[str, list[Cost]] = defaultdict(list)
    for _ in range(rounds):
        for client in present:
            if not any(each.seconds > SLOW for each in taken[client.name]):
                taken[client.name].append(obtain(client, ca, count))
    base = median(taken["certctl"])
    print(f"\n{what}, median of {rounds}:")
    print(f"{'':24}{'seconds':>9}{'ratio':>8}{'CPU':>8}{'ratio':>8}{'MiB':>7}{'requests':>10}")
    for client in present:
        found = median(taken[client.name])
        print(
            f"{version(client):24}{found.seconds:9.2f}{found.seconds / base.seconds:8.2f}"
            f"{found.cpu:8.2f}{found.cpu / base.cpu:8.2f}{found.memory:7.0f}{found.requests:10}"
        )
    return {name for name, costs in taken.items() if median(costs).seconds > SLOW}


def waiting(client: Client, pebble: PebbleServer, far: Distance, rounds: int) -> None:
    """Print how much of certctl's time is spent waiting for the network."""
    for count in (1, MANY):
        shares, trips = [], []
        for _ in range(rounds):
            far.waited()
            took, waited = obtain(client, pebble, count), far.waited()
            shares.append((took.seconds - waited.seconds, waited.seconds))
            trips.append(waited.seconds / (2 * EACH_WAY))
        own, waited_for = sorted(shares)[rounds // 2]
        print(
            f"certctl, {count:2} names: {waited_for:.2f} s waiting"
            f" ({sorted(trips)[rounds // 2]:.1f} round trips), {own:.2f} s other time"
            f" ({own / waited_for:.0%} of the waiting time)"
        )


@contextmanager
def quick_pebble(directory: Path) -> Iterator[PebbleServer]:
    """Run a Pebble that validates without delay and rejects no nonces, in `directory`."""
    for part in ("dns", "pebble"):
        (directory / part).mkdir()
    with (
        ChallengeTestServer(directory=directory / "dns") as dns,
        PebbleServer(directory=directory / "pebble", dns_server=dns.dns_address) as pebble,
    ):
        yield pebble


def prepared_clients(ca: Ca, directory_url: str, directory: Path) -> list[Client]:
    """Return the usable clients, each with an account and one certificate."""
    present = clients(ca, directory_url, directory)
    for client in present:
        if client.prepare:
            cost(client.prepare, **client.variables)
        obtain(client, ca, 1)
    return present


def main() -> None:
    """Measure every client that is installed, and print the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    precompile()
    with tempfile.TemporaryDirectory(prefix="certctl-bench-") as name:
        directory = Path(name)
        with slow_ca() as ca:
            compare(
                f"one name, validated in {VALIDATION_SECONDS:g} s, then Retry-After:"
                f" {RETRY_AFTER:g}",
                prepared_clients(ca, ca.directory_url, directory / "slow"),
                ca,
                1,
                min(rounds, 3),
            )
        with quick_pebble(directory) as pebble:
            near = prepared_clients(pebble, pebble.directory_url, directory / "near")
            missing = set(NAMES) - {each.name for each in near}
            if missing:
                print(f"not usable on this machine, skipped: {', '.join(sorted(missing))}")
            compare("one name", near, pebble, 1, rounds)
            slow = compare(f"{MANY} names", near, pebble, MANY, rounds)
            with Distance(pebble.port, EACH_WAY) as far:
                url = f"https://127.0.0.1:{far.port}/dir"
                distant = prepared_clients(pebble, url, directory / "far")
                away = f"{EACH_WAY * 1000:.0f} ms away"
                compare(f"one name, {away}", distant, pebble, 1, rounds)
                quick = [each for each in distant if each.name not in slow]
                compare(f"{MANY} names, {away}", quick, pebble, MANY, min(rounds, 3))
                waiting(distant[0], pebble, far, rounds)


if __name__ == "__main__":
    main()
