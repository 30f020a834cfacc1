"""Measures `certctl apply`: many first certificates in one command, some way from the CA.

    python bench/apply.py [--many 2000]

Twenty first certificates at a Pebble that is 50 ms away (each way), by one `apply`, and by one
`certctl issue` each; the account is new. Then thousands at a development CA close by, for the
memory that they take. Compare times only within one run.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.measure import Cost, cost, precompile
from bench.run import EACH_WAY, quick_pebble
from tests.lab.devca import DevCaServer
from tests.lab.distance import Distance

FEW = 20
MANY = 2_000


def desired(
    path: Path, names: Sequence[str], directory_url: str, ca_bundle: Path, port: int
) -> Path:
    """Write a desired state with these certificates."""
    head = (
        f'[defaults]\nca = "{directory_url}"\nca_bundle = "{ca_bundle}"\n'
        f'challenge.http_address = "127.0.0.1"\nchallenge.http_port = {port}\n'
    )
    path.write_text(head + "".join(f'[certificate."{each}"]\n' for each in names))
    return path


def few(directory: Path) -> None:
    """Print what some first certificates cost, at a distance."""
    names = [f"n{number}.example" for number in range(FEW)]
    (directory / "pebble").mkdir()
    with (
        quick_pebble(directory / "pebble") as pebble,
        Distance(pebble.port, EACH_WAY) as far,
    ):
        url = f"https://127.0.0.1:{far.port}/dir"
        file = desired(directory / "few.toml", names, url, pebble.ca_bundle, pebble.http_port)
        homes = [str(directory / "applied"), str(directory / "issued")]
        applied = cost(["certctl", "apply", str(file), "--yes", "--agree-tos", "--home", homes[0]])
        options = ["--ca", url, "--ca-bundle", str(pebble.ca_bundle), "--agree-tos"]
        options += ["--http-address", "127.0.0.1", "--http-port", str(pebble.http_port)]
        issued = sum(
            cost(["certctl", "issue", each, *options, "--home", homes[1]]).seconds for each in names
        )
    print(f"{FEW} first certificates, {EACH_WAY * 1000:.0f} ms from the CA:")
    line("one certctl apply", applied)
    print(f"{FEW} x certctl issue    {issued:9.2f} s")


def many(directory: Path, count: int) -> None:
    """Print what many first certificates cost, close to the CA."""
    names = [f"n{number}.example" for number in range(count)]
    (directory / "devca").mkdir()
    with DevCaServer(directory=directory / "devca") as ca:
        file = desired(directory / "many.toml", names, ca.directory_url, ca.ca_bundle, ca.http_port)
        command = ["certctl", "apply", str(file), "--yes", "--agree-tos", "--quiet"]
        found = cost([*command, "--home", str(directory / "many")])
        again = cost([*command, "--home", str(directory / "many")])
    print(f"\n{count} first certificates, close to the CA:")
    line("one certctl apply", found)
    line("the same again", again)


def line(what: str, found: Cost) -> None:
    print(f"{what:20}{found.seconds:9.2f} s{found.cpu:8.2f} s CPU{found.memory:6.0f} MiB")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--many", type=int, default=MANY)
    options = parser.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.environ.pop("CERTCTL_HOME", None)
    precompile()
    with tempfile.TemporaryDirectory(prefix="certctl-bench-") as name:
        few(Path(name))
        many(Path(name), options.many)


if __name__ == "__main__":
    main()
