"""Soak test: renews two hundred certificates with a lifetime of thirty seconds, with CA faults and
killed runs.

    python bench/soak.py [SECONDS] [--at-once N]

`certctl renew` runs continuously against the development CA, which rejects nonces, returns errors,
enforces rate limits and drops replies; every fifth run is killed unless it ends earlier. --at-once
starts N such loops in parallel. No certificate may expire: for each version it is checked that it
was issued before the previous one expired. Each fault must occur at least once, otherwise the
result is not valid.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.lab.devca import DevCaServer

COUNT = 200
LIFETIME = "30s"
FAULTS = ("bad-nonce=10", "server-error=1", "unavailable=1", "lost-reply=1", "rate-limited=0.5")
KILLED = 0.2
CHECK_INTERVAL = 2.0


def main() -> None:
    """Renew for the given time, and report whether any certificate expired."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=180.0)
    parser.add_argument("--at-once", type=int, default=1, metavar="N")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="certctl-soak-") as name:
        directory = Path(name)
        arguments = ("--lifetime", LIFETIME)
        with DevCaServer(directory=directory, arguments=arguments) as ca:
            home = prepare(directory / "home", ca)
            while not all((home / "live" / each).is_symlink() for each in names()):
                renew(home)
            for fault in FAULTS:
                arguments += ("--fault", fault)
        # The same CA, now with faults.
        with DevCaServer(
            directory=directory, arguments=arguments, port=ca.port, http_port=ca.http_port
        ) as ca:
            soak(home, ca, given.seconds, given.at_once)


def prepare(home: Path, ca: DevCaServer) -> Path:
    """Configure the certificates in a new home directory, and return it."""
    specs = home / "certificates"
    specs.mkdir(parents=True, mode=0o700)
    (home / "certctl.toml").write_text(
        f'ca = "{ca.directory_url}"\nca_bundle = "{ca.ca_bundle}"\naccount.agree_tos = true\n'
        f'challenge.http_port = {ca.http_port}\nchallenge.http_address = "127.0.0.1"\njobs = 16\n'
    )
    for each in names():
        (specs / f"{each}.toml").write_text(f'version = 1\nnames = ["{each}"]\n')
    return home


def names() -> list[str]:
    return [f"soak{number}.example" for number in range(COUNT)]


def soak(home: Path, ca: DevCaServer, seconds: float, at_once: int) -> None:
    """Renew for `seconds` in `at_once` parallel loops, print the results, and exit."""
    started, outcomes = time.monotonic(), Counter[str]()
    watched = [Watched(home, each) for each in names()]
    margins = [each.check() for each in watched]
    loops = [
        threading.Thread(target=renew_until, args=(number, home, started + seconds, outcomes))
        for number in range(at_once)
    ]
    for thread in loops:
        thread.start()
    while any(thread.is_alive() for thread in loops):
        time.sleep(CHECK_INTERVAL)
        margins += [each.check() for each in watched]
    versions = sum(each.number for each in watched)
    expired = sum(len(each.expired) for each in watched)
    faults = injected_faults(ca)
    elapsed = time.monotonic() - started
    print(f"{COUNT} certificates of {LIFETIME}, {elapsed:.0f} s, runs: {dict(outcomes)}")
    print(f"injected faults: {dict(faults)}")
    print(
        f"{versions - COUNT} renewals, at least {min(margins):.1f} s left,"
        f" {expired} expired before their renewal"
    )
    missed = [each for each in FAULTS if each.partition("=")[0] not in faults]
    if missed or not outcomes["killed"]:
        sys.exit(f"too short, these did not occur: {', '.join(missed) or 'killed runs'}")
    sys.exit(1 if expired else 0)


def renew_until(number: int, home: Path, until: float, outcomes: Counter[str]) -> None:
    """Run `renew` repeatedly until `until`, kill some runs, and count how each one ended."""
    source = random.Random(number)  # noqa: S311 - not used for secrets
    while time.monotonic() < until:
        killed = source.random() < KILLED
        status = renew(home, kill_after=source.uniform(0.2, 2.0) if killed else None)
        outcomes["killed" if status < 0 else f"exit {status}"] += 1


class Watched:
    """A certificate whose new versions are checked from time to time, without skipping any."""

    def __init__(self, home: Path, name: str) -> None:
        self._home, self._name = home, name
        self.number = int((home / "live" / name).readlink().name)
        self._until = self._facts(self.number)[1]
        self.expired: set[int] = set()
        """The versions that expired before the next one was issued."""

    def check(self) -> float:
        """Return the shortest remaining validity in seconds: of each version replaced since the
        last check, at its replacement, and of the live one, now. Negative if one had expired.
        """
        found: list[float] = []
        live = int((self._home / "live" / self._name).readlink().name)
        while self.number < live:
            self.number += 1
            issued, until = self._facts(self.number)
            found.append(self._left(self.number - 1, issued))
            self._until = until
        return min((*found, self._left(self.number, datetime.now(UTC))))

    def _left(self, number: int, now: datetime) -> float:
        left = (self._until - now).total_seconds()
        if left <= 0:
            self.expired.add(number)
        return left

    def _facts(self, number: int) -> tuple[datetime, datetime]:
        """Return when a version was issued, and when it expires."""
        path = self._home / "archive" / self._name / str(number) / "issued.json"
        found = json.loads(path.read_text())
        moments = found["issued"], found["certificates"][0]["facts"]["not_after"]
        issued, until = (datetime.fromisoformat(each) for each in moments)
        return issued, until


def injected_faults(ca: DevCaServer) -> Counter[str]:
    """Return how often the CA injected each fault."""
    log = json.loads(ca.get("/manage/requests"))["requests"]
    return Counter(each["fault"] for each in log if each["fault"])


def renew(home: Path, kill_after: float | None = None) -> int:
    """Run `certctl renew`, killed after `kill_after` seconds if given; return its exit status."""
    process = subprocess.Popen(
        [sys.executable, "-m", "certctl", "renew", "--quiet", "--home", str(home)],
        env=os.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return process.wait(kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


if __name__ == "__main__":
    main()
