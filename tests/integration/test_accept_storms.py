"""Clients that come and go in any number at the HTTP-01 and TLS-ALPN-01 servers, in a process that
may open few files.
"""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from certctl.challenges.challenge_server import MAX_CONNECTIONS, too_many

SERVER = """
import resource, sys
method, limit = sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, int(sys.argv[3])))
from tests.lab.ports import free_port
from tests.support.http01 import http_task, real_system
from certctl.challenges.http01_standalone import StandaloneSolver
from certctl.challenges.tls_alpn01 import TlsAlpnSolver
from certctl.model.ca import ChallengeType
from dataclasses import replace
port, task = free_port(), http_task("token", name="a.example")
if method == "tls-alpn":
    task = replace(task, type=ChallengeType.TLS_ALPN_01)
solvers = {"http": StandaloneSolver, "tls-alpn": TlsAlpnSolver}
solver = solvers[method]("127.0.0.1", port, real_system())
solver.present([solver.plan(task)])
print(port, flush=True)
sys.stdin.readline()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], flush=True)
solver.close()
"""
HTTP_REQUEST = b"GET /.well-known/acme-challenge/token HTTP/1.1\r\nHost: a.example\r\n\r\n"
ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def server(method: str, limit: int, most: int) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """A server in a process with these limits of file descriptors; nobody reads its standard
    error while it runs.
    """
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, method, str(limit), str(most)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process
        finally:
            process.kill()


def ended(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """What the server printed until it ended: its last limit, and its standard error."""
    return process.communicate("\n", timeout=20)


def come_and_go(port: int, clients: int) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(clients):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(("127.0.0.1", port))


def answer(port: int, method: str) -> bytes:
    """The first bytes that a CA gets."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(HTTP_REQUEST if method == "http" else b"not TLS at all, but long enough")
        return client.recv(4)


@pytest.mark.usefixtures("many_descriptors")
@pytest.mark.parametrize("method", ["http", "tls-alpn"])
@pytest.mark.parametrize("limit", [64, 256, 1024])
def test_clients_that_come_and_go_are_survived_in_silence(method: str, limit: int) -> None:
    with server(method, limit, limit) as (port, process):
        for _ in range(4):
            come_and_go(port, 500)

        answered = answer(port, method)

        assert answered == (b"HTTP" if method == "http" else b"\x15\x03\x03\x00")
        assert ended(process) == (f"{limit}\n", "")


@pytest.mark.usefixtures("many_descriptors")
@pytest.mark.parametrize("method", ["http", "tls-alpn"])
def test_more_stalled_clients_than_descriptors_delay_nobody(method: str) -> None:
    with contextlib.ExitStack() as stalled, server(method, 256, 256) as (port, process):
        for _ in range(400):
            stalled.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))

        answered = answer(port, method)

        assert answered == (b"HTTP" if method == "http" else b"\x15\x03\x03\x00")
        assert ended(process) == ("256\n", "")


def test_a_low_limit_of_descriptors_is_raised_to_the_usual_one() -> None:
    with server("http", 200, 4096) as (port, process):
        assert answer(port, "http") == b"HTTP"
        assert ended(process) == ("1024\n", "")


@pytest.mark.parametrize(
    ("connections", "descriptor", "limit", "expected"),
    [
        (MAX_CONNECTIONS, 800, 1024, False),
        (MAX_CONNECTIONS + 1, 800, 1024, True),
        (10, 224, 256, True),
        (10, 223, 256, False),
        (1, 255, 256, False),  # the only one: others have the descriptors
    ],
)
def test_a_server_keeps_descriptors_for_the_rest_of_certctl(
    connections: int, descriptor: int, limit: int, expected: bool
) -> None:
    assert too_many(connections, descriptor, limit) is expected
