"""What tests of `certctl secure` share: machines with a web server at port 80, a CA that validates
there, and the rights that the shipped unit of systemd leaves to what runs later.
"""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import machine as lab
from tests.lab.machine import HOME, Machine, machine, network
from tests.lab.pebble import ChallengeTestServer, PebbleServer
from tests.lab.processes import wait_until
from tests.lab.programs import require

HOSTS = (
    *("one.example", "two.example", "three.example", "old.example", "blocked.example"),
    *("static.example", "proxied.example", "elsewhere.example", "closed.example", "caf.example"),
    *("first.example", "other.example", "unknown.example", "macro.example", "generated.example"),
    *("twice.example", "loop.example", "asleep.example", "writable.example"),
)
"""The names that lead to the machine."""
IPV6_ONLY = "six.example"
NAT = "nat.example"
"""A name of a router in front of the machine, which the machine cannot reach."""
LIFETIME = 90 * 24 * 3600
SELF_SIGNED = (
    "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=own -addext"
    " subjectAltName=DNS:own.example -keyout /srv/own.key -out /srv/own.pem"
)
"""Makes a certificate for own.example."""
PORTS = (80, 443)

_HOSTS_FILE = (f"127.0.0.1 {' '.join(HOSTS)}", f"::1 {IPV6_ONLY}", f"203.0.113.5 {NAT}")
_UNIT = Path(__file__).parents[2] / "packaging" / "systemd" / "certctl.service"


def site(*lines: str, name: str = "one.example") -> bytes:
    """Return a server block of nginx at port 80."""
    inner = "".join(f"    {line}\n" for line in ("listen 80;", f"server_name {name};", *lines))
    return f"server {{\n{inner}}}\n".encode()


def host(*lines: str, name: str = "one.example", address: str = "*:80") -> bytes:
    """Return a virtual host of Apache."""
    inner = "".join(f"    {line}\n" for line in (f"ServerName {name}", *lines) if line)
    return f"<VirtualHost {address}>\n{inner}</VirtualHost>\n".encode()


@contextmanager
def local_dns(directory: Path, *programs: str) -> Iterator[ChallengeTestServer]:
    """Give this thread a network of its own, with a DNS server; skip the test without programs."""
    require(*programs, "pebble", "pebble-challtestsrv", "unshare", "nsenter", "ip", "pgrep")
    if not lab.possible():
        pytest.skip("only root can give servers their usual ports and directories, by namespaces")
    with network(), ChallengeTestServer(directory=directory) as server:
        server.set_aaaa(IPV6_ONLY, ("::1",))
        yield server


def local_ca(directory: Path, dns: ChallengeTestServer) -> PebbleServer:
    """A CA that validates at port 80 of the machine."""
    return PebbleServer(
        directory=directory,
        dns_server=dns.dns_address,
        http_port=80,
        validity_seconds=LIFETIME,
        blocked_domains=("blocked.example",),
    )


@contextmanager
def web_machine(directory: Path) -> Iterator[Machine]:
    """Make a machine to which the names lead, with a page, once its ports are free."""
    wait_for_free_ports()
    with machine(directory, _HOSTS_FILE) as made:
        made.run("sh", "-c", "echo hello >/srv/www/index.html")
        yield made


def stop_servers(here: Machine) -> None:
    here.run("pkill", "-KILL", "-x", "apache2|httpd|nginx")
    # By the time of the next start, other processes may have the numbers.
    here.run("rm", "-f", "/run/apache2/apache2.pid", "/run/nginx.pid")
    wait_for_free_ports()


def wait_for_free_ports() -> None:
    wait_until(
        lambda: not any(listens("127.0.0.1", each) for each in PORTS), "the ports to be free"
    )


def listens(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as tried:
        return tried.connect_ex((address, port)) == 0


def ca_options(ca: PebbleServer) -> list[str]:
    return ["--ca", ca.directory_url, "--ca-bundle", str(ca.ca_bundle)]


def options(ca: PebbleServer) -> list[str]:
    return [*ca_options(ca), "--agree-tos", "--yes", "--schedule"]


def limits() -> list[str]:
    """What starts a command with the rights that the shipped unit gives."""
    kept = [
        word.removeprefix("CAP_").lower()
        for line in _UNIT.read_text().splitlines()
        if line.startswith("CapabilityBoundingSet=")
        for word in line.partition("=")[2].split()
    ]
    assert "sys_ptrace" not in kept
    bounding = ",".join(("-all", *(f"+{each}" for each in kept)))
    return ["setpriv", "--no-new-privs", f"--bounding-set={bounding}", "--inh-caps=-all"]


Confined = Callable[..., subprocess.CompletedProcess[str]]


def confined(here: Machine) -> Confined:
    """Return what runs a command of certctl on a machine with the rights of the unit."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return here.run(*limits(), sys.executable, "-m", "certctl", "--home", str(HOME), *words)

    return run


def killed_at(here: Machine, call: str, number: int, *words: str) -> int:
    """Kill a command of certctl at a system call; return the exit status."""
    kill = f"inject={call}:signal=KILL:when={number}"
    return here.run(
        *("strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", kill),
        *(sys.executable, "-m", "certctl", "--home", str(HOME), *words),
    ).returncode
