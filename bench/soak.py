"""Two hundred certificates that live for thirty seconds, renewed under faults and kills.

    python bench/soak.py [SECONDS]

`certctl renew` runs again and again, as from an impatient cron, against the development CA, which
refuses nonces, fails, limits and loses replies; every tenth run is killed. No certificate may
expire: each is looked at between the runs.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.lab.devca import DevCaServer

COUNT = 200
LIFETIME = "30s"
FAULTS = ("bad-nonce=10", "server-error=1", "unavailable=1", "lost-reply=1", "rate-limited=0.5")
KILLED = 0.1


def main() -> None:
    """Renew for a while, and say what became of the certificates."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 180.0
    with tempfile.TemporaryDirectory(prefix="certctl-soak-") as name:
        folder = Path(name)
        arguments = ("--lifetime", LIFETIME)
        with DevCaServer(folder=folder, arguments=arguments) as ca:
            home = prepared(folder / "home", ca)
            while any(left(home, each) is None for each in names()):
                renew(home)
            for fault in FAULTS:
                arguments += ("--fault", fault)
        # The same CA, from now on with its faults.
        with DevCaServer(
            folder=folder, arguments=arguments, port=ca.port, http_port=ca.http_port
        ) as ca:
            soak(home, seconds)


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


def soak(home: Path, seconds: float) -> None:
    source = random.Random(1)  # noqa: S311 - no secret comes of it
    begun, ends = time.monotonic(), Counter[str]()
    least, expired = 1e9, 0
    while time.monotonic() - begun < seconds:
        killed = source.random() < KILLED
        status = renew(home, kill_after=source.uniform(0.2, 2.0) if killed else None)
        ends["killed" if status < 0 else f"exit {status}"] += 1
        margins = [left(home, each) or 0.0 for each in names()]
        least = min(least, *margins)
        expired += sum(margin <= 0 for margin in margins)
    versions = sum(int((home / "live" / each).readlink().name) for each in names())
    print(f"{COUNT} certificates of {LIFETIME}, {time.monotonic() - begun:.0f} s, {dict(ends)}")
    print(f"{versions - COUNT} renewals, at least {least:.1f} s left, {expired} times expired")
    sys.exit(1 if expired else 0)


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


def left(home: Path, name: str) -> float | None:
    """Return how many seconds the live version is valid, None without one."""
    path = home / "live" / name / "issued.json"
    if not path.exists():
        return None
    until = datetime.fromisoformat(json.loads(path.read_text())["certificate"]["not_after"])
    return (until - datetime.now(UTC)).total_seconds()


if __name__ == "__main__":
    main()
