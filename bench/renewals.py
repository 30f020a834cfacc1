"""Many certificates in one `renew`, beside certbot; idle runs, and how they grow.

Against one Pebble that validates at once. Times are only worth comparing within a run, so all that
is meant to be quoted is a ratio. For certbot fewer certificates are renewed, which is counted for
each certificate; it has no way to renew side by side.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.measure import Cost, cost
from bench.run import quick_pebble
from tests.lab.pebble import PebbleServer
from tests.support.homes import add_copies

MANY = 200
FOR_CERTBOT = 20
IDLE = (100, 1_000, 10_000)


def renewals(pebble: PebbleServer, folder: Path) -> None:
    """Print what it takes to renew many certificates that are due."""
    home = folder / "certctl"
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

    print(f"\n{MANY} single-name certificates, one `certctl renew --force`:")
    print(f"{'':24}{'seconds':>9}{'per second':>12}{'CPU':>8}{'MiB':>7}")
    best = 0.0
    for jobs in ("1", "4", "8", "16"):
        took = cost([*renew, "--force", "--jobs", jobs])
        best = max(best, MANY / took.seconds)
        _line(f"certctl --jobs {jobs}", MANY, took)
    if shutil.which("certbot") is None:
        print("certbot is not installed, so not compared")
        return
    took = certbot(pebble, folder)
    _line(f"certbot ({FOR_CERTBOT})", FOR_CERTBOT, took)
    print(
        f"certctl renews {best / (FOR_CERTBOT / took.seconds):.1f} times as many in the same time"
    )


def certbot(pebble: PebbleServer, folder: Path) -> Cost:
    """Return what certbot takes to renew its certificates in one run."""
    common = [
        *("--config-dir", str(folder / "certbot"), "--work-dir", str(folder / "work")),
        *("--logs-dir", str(folder / "logs"), "--non-interactive"),
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


def idle(folder: Path) -> None:
    """Print what a run takes that has nothing to do, and how that grows."""
    print("\n`certctl renew` with nothing due, `certctl list --json`:")
    print(f"{'':24}{'seconds':>9}{'MiB':>7}{'':4}{'seconds':>9}{'MiB':>7}")
    home = folder / "idle"
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
    print(f"{what:24}{took.seconds:9.2f}{rate:12.1f}{took.cpu:8.1f}{took.memory:7.0f}")


def main() -> None:
    """Measure, and print."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with tempfile.TemporaryDirectory(prefix="certctl-bench-") as name:
        folder = Path(name)
        with quick_pebble(folder) as pebble:
            renewals(pebble, folder)
        idle(folder)


if __name__ == "__main__":
    main()
