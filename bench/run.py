"""`make bench`: certctl beside other ACME clients, against one Pebble, in one run.

For each client that is installed: the wall time and the HTTP requests of one issuance, and of
twenty certificates ordered one after another, each by a command of its own, as cron jobs and shell
scripts do. Pebble validates at once and rejects no nonce. Times are only worth comparing within a
run, so each stands beside its ratio to certctl's. Accounts are made beforehand, untimed.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.lab.pebble import ChallengeTestServer, PebbleServer

REPEATS = 5
MANY = 20


@dataclass(frozen=True)
class Client:
    """A client to measure: how it orders a certificate for a name, by itself."""

    name: str
    version: tuple[str, ...]
    command: Callable[[str], list[str]]
    variables: Mapping[str, str] = field(default_factory=dict)

    def order(self, name: str) -> None:
        """Obtain a certificate for `name`; ends the benchmark where that fails."""
        done = subprocess.run(
            self.command(name),
            env={**os.environ, **self.variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            sys.exit(f"{self.name} failed:\n{done.stdout}{done.stderr}")


@dataclass(frozen=True)
class Figures:
    """What was measured for one client; times in seconds."""

    client: str
    one: float
    one_requests: int
    many: float
    many_requests: int


def clients(pebble: PebbleServer, folder: Path) -> list[Client]:
    """Return certctl and the others that are installed, each with a folder of its own."""
    port, url, bundle = pebble.http_port, pebble.directory_url, str(pebble.ca_bundle)
    found = [
        Client(
            "certctl",
            ("certctl", "--version"),
            lambda name: [
                *("certctl", "issue", name, "--home", str(folder / "certctl")),
                *("--ca", url, "--ca-bundle", bundle, "--agree-tos", "--yes"),
                *("--http-address", "127.0.0.1", "--http-port", str(port)),
            ],
        ),
        Client(
            "certbot",
            ("certbot", "--version"),
            lambda name: [
                *("certbot", "certonly", "--standalone", "--non-interactive", "--agree-tos"),
                *("--register-unsafely-without-email", "--server", url, "-d", name),
                *("--http-01-port", str(port), "--http-01-address", "127.0.0.1"),
                *("--config-dir", str(folder / "certbot"), "--work-dir", str(folder / "work")),
                *("--logs-dir", str(folder / "logs")),
            ],
            {"REQUESTS_CA_BUNDLE": bundle},
        ),
        Client(
            "lego",
            ("lego", "--version"),
            lambda name: [
                *("lego", "--server", url, "--path", str(folder / "lego"), "--accept-tos"),
                *("--email", "bench@example.com", "--http", "--http.port", f"127.0.0.1:{port}"),
                *("--domains", name, "run"),
            ],
            {"LEGO_CA_CERTIFICATES": bundle},
        ),
    ]
    return [each for each in found if shutil.which(each.name)]


def measure(client: Client, pebble: PebbleServer) -> Figures:
    """Return the figures of one client; its first order makes the account and does not count."""
    client.order(f"first.{client.name}.example")
    times: list[float] = []
    requests: list[int] = []
    for number in range(REPEATS):
        seconds, count = _timed(
            pebble, lambda n=number: client.order(f"one{n}.{client.name}.example")
        )
        times.append(seconds)
        requests.append(count)

    def many() -> None:
        for number in range(MANY):
            client.order(f"many{number}.{client.name}.example")

    seconds, count = _timed(pebble, many)
    return Figures(
        client.name, statistics.median(times), int(statistics.median(requests)), seconds, count
    )


def _timed(pebble: PebbleServer, work: Callable[[], None]) -> tuple[float, int]:
    before = pebble.request_count()
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun, pebble.request_count() - before


def report(figures: list[Figures], versions: Mapping[str, str]) -> None:
    """Print the figures as a table, certctl first and every ratio to it."""
    base = figures[0]
    columns = f"{'seconds':>10}{'ratio':>8}{'requests':>10}"
    print(f"\n{'':34}{'one issuance':>28}    {f'{MANY} issuances':>28}")
    print(f"{'':34}{columns}    {columns}")
    for each in figures:
        print(
            f"{versions[each.client]:34}"
            f"{each.one:10.2f}{each.one / base.one:8.2f}{each.one_requests:10}    "
            f"{each.many:10.2f}{each.many / base.many:8.2f}{each.many_requests:10}"
        )


@contextmanager
def quick_pebble(folder: Path) -> Iterator[PebbleServer]:
    """Run a Pebble that validates at once and refuses no nonce, with its files in `folder`."""
    for part in ("dns", "pebble"):
        (folder / part).mkdir()
    with (
        ChallengeTestServer(folder=folder / "dns") as dns,
        PebbleServer(folder=folder / "pebble", dns_server=dns.dns_address) as pebble,
    ):
        yield pebble


def main() -> None:
    """Measure every client that is installed, and print the comparison."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with tempfile.TemporaryDirectory(prefix="certctl-bench-") as name:
        folder = Path(name)
        with quick_pebble(folder) as pebble:
            present = clients(pebble, folder)
            missing = {"certctl", "certbot", "lego"} - {each.name for each in present}
            if missing:
                print(f"not installed, so not compared: {', '.join(sorted(missing))}")
            versions = {each.name: _version(each) for each in present}
            report([measure(each, pebble) for each in present], versions)


def _version(client: Client) -> str:
    done = subprocess.run(client.version, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().splitlines()[0][:32]


if __name__ == "__main__":
    main()
