"""Measures one `renew` of many certificates, compared with the CA's maximum throughput and with
other clients, and how the cost of idle runs grows with the number of certificates.

All clients use one Pebble that validates without delay. Compare times only within one run, and
quote ratios only. The other clients renew fewer certificates, one after the other (certbot in one
command), so that results are given per certificate.
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
from bench.measure import Cost, cost, median, precompile
from bench.run import obtain, prepared_clients, quick_pebble
from tests.lab.pebble import PebbleServer
from tests.support.homes import add_copies

MANY = 200
FOR_CERTBOT = 20
FOR_OTHERS = 5
CONNECTIONS = 8
JOBS = ("1", "4", "8", "16")
IDLE = (100, 1_000, 10_000)


def renewals(pebble: PebbleServer, directory: Path, rounds: int) -> None:
    """Print what it costs to renew many certificates."""
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
    cost(renew)  # registers the account and obtains all certificates
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
        f"{'minimal clients':28}{MANY / most:9.2f}{most:12.1f}   "
        f"({CONNECTIONS} connections); certctl reaches {best / most:.0%} of that"
    )
    for client in prepared_clients(pebble, pebble.directory_url, directory / "others")[1:]:
        count, took = several(client, pebble, directory)
        _line(f"{client.name} ({count})", count, took)
        print(f"{'':28}certctl renews {best / (count / took.seconds):.1f} times as many")


def several(client: Client, pebble: PebbleServer, directory: Path) -> tuple[int, Cost]:
    """Obtain or renew some certificates with a client; return their number and the cost."""
    if client.name == "certbot":
        return FOR_CERTBOT, certbot(pebble, directory)
    each = [obtain(client, pebble, 1) for _ in range(FOR_OTHERS)]
    return FOR_OTHERS, Cost(
        sum(one.seconds for one in each),
        sum(one.cpu for one in each),
        max(one.memory for one in each),
    )


def certbot(pebble: PebbleServer, directory: Path) -> Cost:
    """Return what it costs certbot to renew its certificates in one run."""
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
    """Print what runs with nothing due cost, by number of certificates."""
    print("\n`certctl renew` with nothing due, `certctl list --json`:")
    print(f"{'':24}{'seconds':>9}{'MiB':>7}{'':4}{'seconds':>9}{'MiB':>7}")
    home = directory / "idle"
    existing = 0
    for count in IDLE:
        add_copies(home, count, first=existing)
        existing = count
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
    precompile()
    with tempfile.TemporaryDirectory(prefix="certctl-bench-") as name:
        directory = Path(name)
        with quick_pebble(directory) as pebble:
            renewals(pebble, directory, rounds)
        idle(directory)


if __name__ == "__main__":
    main()
