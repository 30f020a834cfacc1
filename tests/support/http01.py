"""For tests of challenges: tasks as a CA sets them, real time, a client that sees every byte."""

import socket
import threading
from dataclasses import dataclass

import pytest

from certctl.challenges.system import SolverSystem
from certctl.model.ca import ChallengeType
from certctl.model.names import parse_identifier
from certctl.model.validation import Task
from certctl.system.clock import SystemClock

PATH = "/.well-known/acme-challenge/"


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def real_system() -> SolverSystem:
    return SolverSystem(SystemClock(), threading.Event())


def http_task(token: str, *, name: str = "example.com", certificate: str = "example.com") -> Task:
    return Task(
        identifier=parse_identifier(name),
        type=ChallengeType.HTTP_01,
        token=token,
        key_authorization=f"{token}.thumbprint",
        account_url="https://ca.test/account/1",
        certificate=certificate,
    )


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


def request(port: int, path: str, *, method: str = "GET", host: str = "127.0.0.1") -> Response:
    return exchange(port, f"{method} {path} HTTP/1.1\r\nHost: example.com\r\n\r\n".encode(), host)


def exchange(port: int, sent: bytes, host: str = "127.0.0.1") -> Response:
    """Send raw bytes and return what came until the server ended the connection."""
    with socket.create_connection((host, port), timeout=5) as connection:
        connection.sendall(sent)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("ascii").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Response(int(status_line.split(" ")[1]), headers, body)
