"""Two hundred certificates that live for thirty seconds, renewed under faults and kills.

    python bench/soak.py [SECONDS] [--at-once N]

`certctl renew` runs again and again, as from an impatient cron, against the development CA, which
refuses nonces, fails, limits and loses replies; every fifth run is killed, unless it ends before.
With --at-once so many crons do that at the same time. No certificate may expire: each version is
looked at, whether it came before the one before it ended. Every fault must have been met, or the
figures show nothing.
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
LOOK_EVERY = 2.0


def main() -> None:
    """Renew for a while, and say what became of the certificates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=180.0)
    parser.add_argument("--at-once", type=int, default=1, metavar="N")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="certctl-soak-") as name:
        directory = Path(name)
        arguments = ("--lifetime", LIFETIME)
        with DevCaServer(directory=directory, arguments=arguments) as ca:
            home = prepared(directory / "home", ca)
            while not all((home / "live" / each).is_symlink() for each in names()):
                renew(home)
            for fault in FAULTS:
                arguments += ("--fault", fault)
        # The same CA, from now on with its faults.
        with DevCaServer(
            directory=directory, arguments=arguments, port=ca.port, http_port=ca.http_port
        ) as ca:
            soak(home, ca, given.seconds, given.at_once)


def prepared(home: Path, ca: DevCaServer) -> Path:
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
    begun, ends = time.monotonic(), Counter[str]()
    watched = [Watched(home, each) for each in names()]
    margins = [each.look() for each in watched]
    crons = [
        threading.Thread(target=cron, args=(number, home, begun + seconds, ends))
        for number in range(at_once)
    ]
    for thread in crons:
        thread.start()
    while any(thread.is_alive() for thread in crons):
        time.sleep(LOOK_EVERY)
        margins += [each.look() for each in watched]
    versions = sum(each.number for each in watched)
    expired = sum(len(each.late) for each in watched)
    met = faults_met(ca)
    print(f"{COUNT} certificates of {LIFETIME}, {time.monotonic() - begun:.0f} s, {dict(ends)}")
    print(f"faults met: {dict(met)}")
    print(
        f"{versions - COUNT} renewals, at least {min(margins):.1f} s left, {expired} expired first"
    )
    missed = [each for each in FAULTS if each.partition("=")[0] not in met]
    if missed or not ends["killed"]:
        sys.exit(f"too short: not everything was met: {', '.join(missed) or 'no kill'}")
    sys.exit(1 if expired else 0)


def cron(number: int, home: Path, until: float, ends: Counter[str]) -> None:
    """Run `renew` again and again, and kill some; count how each run ended."""
    source = random.Random(number)  # noqa: S311 - no secret comes of it
    while time.monotonic() < until:
        killed = source.random() < KILLED
        status = renew(home, kill_after=source.uniform(0.2, 2.0) if killed else None)
        ends["killed" if status < 0 else f"exit {status}"] += 1


class Watched:
    """A certificate that is looked at now and then, so that no version is passed over."""

    def __init__(self, home: Path, name: str) -> None:
        self._home, self._name = home, name
        self.number = int((home / "live" / name).readlink().name)
        self._until = self._facts(self.number)[1]
        self.late: set[int] = set()
        """The versions that expired before the next one came."""

    def look(self) -> float:
        """Return the least that was left, in seconds, when versions came since the last look, and
        that is left now; negative where the certificate was expired.
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
            self.late.add(number)
        return left

    def _facts(self, number: int) -> tuple[datetime, datetime]:
        """When a version was issued, and until when it is valid."""
        path = self._home / "archive" / self._name / str(number) / "issued.json"
        found = json.loads(path.read_text())
        moments = found["issued"], found["certificate"]["not_after"]
        issued, until = (datetime.fromisoformat(each) for each in moments)
        return issued, until


def faults_met(ca: DevCaServer) -> Counter[str]:
    """Return how often the CA did what it should not."""
    log = json.loads(ca.get("/manage/requests"))["requests"]
    return Counter(each["fault"] for each in log if each["fault"])


def renew(home: Path, kill_after: float | None = None) -> int:
    """Run `certctl renew`, or a part of it; return its exit status."""
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
