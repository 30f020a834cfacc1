"""Compares certctl with certbot and lego for DNS-01: certificates for a wildcard and its base
domain, all in one zone.

There is one BIND that accepts signed updates, and one Pebble that queries it. certctl obtains and
renews all certificates in one run; certbot renews fewer in one run, lego obtains fewer with one
command each, so times are also given per certificate. certbot and lego do not wait for propagation
here: certbot can only sleep, by default for a minute per certificate, and lego only queries name
servers on port 53. The second table is for a secondary name server that lags behind. Compare times
only within one run.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.measure import Cost, cost
from tests.lab.bind import BindSecondary, BindServer
from tests.lab.pebble import PebbleServer

ZONE = "bench.test"
MANY = 100
FOR_CERTBOT = 10
FOR_LEGO = 10
LAG_SECONDS = 3.0


@contextmanager
def servers(
    directory: Path, secondary_host: str | None = None
) -> Iterator[tuple[BindServer, PebbleServer, BindSecondary | None]]:
    """Run BIND and a Pebble that queries it, with a secondary if its address is given."""
    for part in ("bind", "pebble", "secondary"):
        (directory / part).mkdir(parents=True)
    bind = BindServer(directory=directory / "bind", zones={ZONE: ""}, secondary_host=secondary_host)
    with bind, PebbleServer(directory=directory / "pebble", dns_server=bind.address) as pebble:
        if secondary_host is None:
            yield bind, pebble, None
            return
        with bind.secondary(directory / "secondary") as secondary:
            yield bind, pebble, secondary


def certctl(bind: BindServer, pebble: PebbleServer, directory: Path, count: int) -> list[str]:
    """Configure `count` certificates and return the command that obtains them."""
    specs = directory / "certificates"
    specs.mkdir(parents=True, mode=0o700)
    (directory / "certctl.toml").write_text(
        f'ca = "{pebble.directory_url}"\nca_bundle = "{pebble.ca_bundle}"\n'
        'account.agree_tos = true\nchallenge.dns_provider = "rfc2136"\n'
        f'challenge.dns_resolver = "{bind.address}"\ndns.rfc2136.server = "{bind.address}"\n'
        f'dns.rfc2136.key_file = "{bind.keyfile}"\n'
    )
    for number in range(count):
        name = f"ours{number}.{ZONE}"
        (specs / f"{name}.toml").write_text(f'version = 1\nnames = ["{name}", "*.{name}"]\n')
    return ["certctl", "renew", "--quiet", "--home", str(directory)]


def certbot(bind: BindServer, pebble: PebbleServer, directory: Path) -> Callable[[], Cost]:
    """Obtain certbot's certificates, and return a function that renews them in one run."""
    credentials = directory / "credentials.ini"
    directory.mkdir()
    credentials.touch(mode=0o600)
    credentials.write_text(
        f"dns_rfc2136_server = {bind.host}\ndns_rfc2136_port = {bind.port}\n"
        f"dns_rfc2136_name = {bind.key_name}\ndns_rfc2136_secret = {bind.key_secret_b64}\n"
        "dns_rfc2136_algorithm = HMAC-SHA256\n"
    )
    common = [
        *("--config-dir", str(directory / "config"), "--work-dir", str(directory / "work")),
        *("--logs-dir", str(directory / "logs"), "--non-interactive"),
    ]
    trust = {"REQUESTS_CA_BUNDLE": str(pebble.ca_bundle)}
    for number in range(FOR_CERTBOT):
        name = f"bot{number}.{ZONE}"
        cost(
            [
                *("certbot", "certonly", "--dns-rfc2136", "--agree-tos"),
                *("--dns-rfc2136-credentials", str(credentials)),
                *("--dns-rfc2136-propagation-seconds", "0"),
                *("--register-unsafely-without-email", "--server", pebble.directory_url),
                *("-d", name, "-d", f"*.{name}", *common),
            ],
            **trust,
        )
    renew = ["certbot", "renew", "--force-renewal", "--no-random-sleep-on-renew", *common]
    return lambda: cost(renew, **trust)


def lego(bind: BindServer, pebble: PebbleServer, directory: Path) -> Cost:
    """Return what it costs lego to obtain its certificates one after another, with an account that
    has been registered before.
    """
    variables = {
        "LEGO_CA_CERTIFICATES": str(pebble.ca_bundle),
        "RFC2136_NAMESERVER": bind.address,
        "RFC2136_TSIG_KEY": bind.key_name,
        "RFC2136_TSIG_SECRET": bind.key_secret_b64,
        "RFC2136_TSIG_ALGORITHM": "hmac-sha256.",
        "RFC2136_SEQUENCE_INTERVAL": "0",
    }

    def obtain(name: str) -> Cost:
        command = [
            *("lego", "--server", pebble.directory_url, "--path", str(directory), "--accept-tos"),
            *("--email", "bench@example.com", "--dns", "rfc2136", "--dns.disable-cp"),
            *("--dns.resolvers", bind.address, "--domains", name, "--domains", f"*.{name}", "run"),
        ]
        return cost(command, **variables)

    obtain(f"first.{ZONE}")
    took = [obtain(f"lego{number}.{ZONE}") for number in range(FOR_LEGO)]
    return Cost(
        sum(each.seconds for each in took),
        sum(each.cpu for each in took),
        max(each.memory for each in took),
    )


def compare(directory: Path) -> None:
    """Print the costs with one name server, for certctl and other clients."""
    print(f"\nwildcard and base domain in one zone, {MANY} certificates in one run:")
    print(f"{'':28}{'seconds':>9}{'each':>9}{'ratio':>8}{'CPU':>8}{'MiB':>7}{'leftover':>11}")
    with servers(directory) as (bind, pebble, _):
        before = bind.dump(ZONE)
        renew = certctl(bind, pebble, directory / "certctl", MANY)

        def line(what: str, count: int, took: Cost, base: float) -> float:
            each, left = took.seconds / count, len(bind.dump(ZONE)) - len(before)
            print(
                f"{what:28}{took.seconds:9.2f}{each:9.3f}{each / (base or each):8.1f}"
                f"{took.cpu:8.1f}{took.memory:7.0f}{left:11}"
            )
            return each

        base = line("certctl, obtained", MANY, cost(renew), 0)
        base = min(base, line("certctl, renewed", MANY, cost([*renew, "--force"]), base))
        if shutil.which("certbot") is None:
            print("certbot is not installed and was skipped")
        else:
            took = certbot(bind, pebble, directory / "certbot")()
            line(f"certbot, {FOR_CERTBOT} renewed", FOR_CERTBOT, took, base)
        if shutil.which("lego") is None:
            print("lego is not installed and was skipped")
        else:
            line(
                f"lego, {FOR_LEGO} obtained", FOR_LEGO, lego(bind, pebble, directory / "lego"), base
            )


def measure_lagging_secondary(directory: Path) -> None:
    """Print the costs with a lagging secondary, for which all certificates share one wait."""
    print(f"\nthe same with a secondary that catches up every {LAG_SECONDS:g} s:")
    with servers(directory, "127.0.0.2") as (bind, pebble, secondary):
        assert secondary is not None
        done = threading.Event()

        def lag() -> None:
            while not done.wait(LAG_SECONDS):
                secondary.catch_up()

        lagging = threading.Thread(target=lag)
        lagging.start()
        try:
            for count in (1, MANY):
                took = cost(certctl(bind, pebble, directory / f"lagging{count}", count))
                print(f"certctl, {count:>3} obtained {took.seconds:12.2f} seconds")
        finally:
            done.set()
            lagging.join()


def main() -> None:
    """Measure, and print."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with tempfile.TemporaryDirectory(prefix="certctl-bench-") as name:
        compare(Path(name) / "comparison")
        measure_lagging_secondary(Path(name) / "lagging")


if __name__ == "__main__":
    main()
