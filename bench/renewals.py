"""Many certificates in one `renew`, beside what the CA can give and other clients; idle runs, and
how they grow.

Against one Pebble that validates at once. Times are only worth comparing within a run, so all that
is meant to be quoted is a ratio. The other clients renew one certificate after the other, certbot
many in one command: for them fewer are obtained, which is counted for each certificate.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.clients import Client
from bench.load import Load
from bench.measure import Cost, cost, median, precompiled
from bench.run import made_ready, obtain, quick_pebble
from tests.lab.pebble import PebbleServer
from tests.support.homes import add_copies

MANY = 200
FOR_CERTBOT = 20
FOR_OTHERS = 5
CONNECTIONS = 8
JOBS = ("1", "4", "8", "16")
IDLE = (100, 1_000, 10_000)


def renewals(pebble: PebbleServer, directory: Path, rounds: int) -> None:
    """Print what it takes to renew many certificates that are due."""
    home = directory / "home"
    specs = home / "certificates"
    specs.mkdir(parents=True, mode=0o700)
    (home / "certctl.toml").write_text(
        f'ca = "{pebble.directory_url}"\nca_bundle = "{pebble.ca_bundle}"\n'
        f"account.agree_tos = true\nchallenge.http_port = {pebble.http_port}\n"
        'challenge.http_address = "127.0.0.1"\n'
    )
    for number in range(MANY):
        name = f"many{number}.example"
        (specs / f"{name}.toml").write_text(f'version = 1\nnames = ["{name}"]\n')
    renew = ["certctl", "renew", "--quiet", "--home", str(home)]
    cost(renew)  # obtains them all, and makes the account
    load = Load(
        pebble.directory_url,
        pebble.ca_bundle,
        pebble.http_port,
        connections=CONNECTIONS,
        each=MANY // CONNECTIONS,
    )
    taken: defaultdict[str, list[Cost]] = defaultdict(list)
    bare: list[float] = []
    for _ in range(rounds):
        bare.append(len(load) / load.issue())
        for jobs in JOBS:
            taken[jobs].append(cost([*renew, "--force", "--jobs", jobs]))

    print(f"\n{MANY} single-name certificates, one `certctl renew --force`, medians of {rounds}:")
    print(f"{'':28}{'seconds':>9}{'per second':>12}{'CPU':>8}{'MiB':>7}")
    for jobs in JOBS:
        _line(f"certctl --jobs {jobs}", MANY, median(taken[jobs]))
    best = max(MANY / median(taken[jobs]).seconds for jobs in JOBS)
    most = sorted(bare)[rounds // 2]
    print(
        f"{'as little as can be done':28}{MANY / most:9.2f}{most:12.1f}   "
        f"({CONNECTIONS} connections); certctl reaches {best / most:.2f} of it"
    )
    for client in made_ready(pebble, pebble.directory_url, directory / "others")[1:]:
        count, took = several(client, pebble, directory)
        _line(f"{client.name} ({count})", count, took)
        print(f"{'':28}certctl renews {best / (count / took.seconds):.1f} times as many")


def several(client: Client, pebble: PebbleServer, directory: Path) -> tuple[int, Cost]:
    """Return what a client takes for some certificates, and how many these are."""
    if client.name == "certbot":
        return FOR_CERTBOT, certbot(pebble, directory)
    each = [obtain(client, pebble, 1) for _ in range(FOR_OTHERS)]
    return FOR_OTHERS, Cost(
        sum(one.seconds for one in each),
        sum(one.cpu for one in each),
        max(one.memory for one in each),
    )


def certbot(pebble: PebbleServer, directory: Path) -> Cost:
    """Return what certbot takes to renew its certificates in one run."""
    common = [
        *("--config-dir", str(directory / "bot"), "--work-dir", str(directory / "work")),
        *("--logs-dir", str(directory / "logs"), "--non-interactive"),
    ]
    trust = {"REQUESTS_CA_BUNDLE": str(pebble.ca_bundle)}
    for number in range(FOR_CERTBOT):
        cost(
            [
                *("certbot", "certonly", "--standalone", "--agree-tos"),
                *("--register-unsafely-without-email", "--server", pebble.directory_url),
                *("-d", f"bot{number}.example", "--http-01-port", str(pebble.http_port), *common),
            ],
            **trust,
        )
    return cost(
        ["certbot", "renew", "--force-renewal", "--no-random-sleep-on-renew", *common], **trust
    )


def idle(directory: Path) -> None:
    """Print what a run takes that has nothing to do, and how that grows."""
    print("\n`certctl renew` with nothing due, `certctl list --json`:")
    print(f"{'':24}{'seconds':>9}{'MiB':>7}{'':4}{'seconds':>9}{'MiB':>7}")
    home = directory / "idle"
    there = 0
    for count in IDLE:
        add_copies(home, count, first=there)
        there = count
        renew = cost(["certctl", "renew", "--home", str(home)])
        listed = cost(["certctl", "list", "--json", "--home", str(home)])
        print(
            f"{count:>10} certificates {renew.seconds:9.2f}{renew.memory:7.0f}    "
            f"{listed.seconds:9.2f}{listed.memory:7.0f}"
        )


def _line(what: str, count: int, took: Cost) -> None:
    rate = count / took.seconds
    print(f"{what:28}{took.seconds:9.2f}{rate:12.1f}{took.cpu:8.1f}{took.memory:7.0f}")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    precompiled()
    with tempfile.TemporaryDirectory(prefix="certctl-bench-") as name:
        directory = Path(name)
        with quick_pebble(directory) as pebble:
            renewals(pebble, directory, rounds)
        idle(directory)


if __name__ == "__main__":
    main()
