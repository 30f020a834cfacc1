"""A zone whose signatures are not valid, behind a BIND that validates."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import pytest

from certctl.dns.dnssec import dnssec_findings
from certctl.dns.resolver import Resolver
from tests.lab.bind import DnsEndpoint
from tests.lab.ports import free_port
from tests.lab.processes import ServerProcess
from tests.lab.programs import program, require

GOOD, BAD, PLAIN = "good.test", "bad.test", "plain.test"
HOST = "127.0.0.1"
PAST = ("-s", "20200101000000", "-e", "20200201000000")
"""When the signatures of the bad zone were valid."""


def run(directory: Path, *words: str) -> str:
    done = subprocess.run(
        [program(words[0]), *words[1:]], cwd=directory, capture_output=True, text=True, check=True
    )
    return done.stdout


def signed_zone(directory: Path, zone: str, *times: str) -> str:
    """Sign a zone; return its key as a trust anchor."""
    key = run(directory, "dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", "-f", "KSK", zone).strip()
    public = (directory / f"{key}.key").read_text()
    plain = directory / f"{zone}.plain"
    plain.write_text(zone_text() + public)
    run(directory, "dnssec-signzone", "-q", "-P", "-z", "-o", zone, "-f", f"{zone}.zone", *times,
        str(plain), key)  # fmt: skip
    *_, flags, protocol, algorithm, data = public.splitlines()[-1].split(None, 6)
    return f'{zone}. static-key {flags} {protocol} {algorithm} "{"".join(data.split())}";'


def zone_text() -> str:
    return (
        "$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n@ A 127.0.0.1\n"
    )


def options(directory: Path, port: int, further: str) -> str:
    return (
        f'options {{ directory "{directory}"; managed-keys-directory "{directory}";\n'
        f'  pid-file none; lock-file none; session-keyfile "{directory}/session.key";\n'
        f"  listen-on port {port} {{ {HOST}; }}; listen-on-v6 {{ none; }};\n"
        f"  {further} }};\ncontrols {{ }};\n"
    )


@contextmanager
def named(directory: Path, port: int, text: str, zone: str) -> Iterator[DnsEndpoint]:
    config = directory / "named.conf"
    config.write_text(text)
    endpoint = DnsEndpoint(HOST, port)
    command = [program("named"), "-g", "-4", "-n", "1", "-c", str(config)]
    with ServerProcess(command, directory=directory, ready=lambda: answers(endpoint, zone)):
        yield endpoint


def answers(endpoint: DnsEndpoint, zone: str) -> bool:
    """Whether a server has the address of a zone; over TCP, which is refused until it listens."""
    question = dns.message.make_query(zone, "A")
    try:
        answer = dns.query.tcp(question, endpoint.host, port=endpoint.port, timeout=5)
    except (OSError, dns.exception.DNSException):
        return False
    return bool(answer.answer)


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resolver]:
    """A resolver that validates three zones of another server: signed, badly, and not signed."""
    for each in ("named", "dnssec-keygen", "dnssec-signzone"):
        require(each)
    serving, validating = (tmp_path_factory.mktemp(each) for each in ("serving", "validating"))
    anchors = [signed_zone(serving, GOOD), signed_zone(serving, BAD, *PAST)]
    (serving / f"{PLAIN}.zone").write_text(zone_text())
    zones = "".join(
        f'zone "{each}" {{ type primary; file "{serving}/{each}.zone"; notify no; }};\n'
        for each in (GOOD, BAD, PLAIN)
    )
    port, other = free_port(), free_port()
    forwards = "".join(
        f'zone "{each}" {{ type forward; forward only; forwarders {{ {HOST} port {port}; }}; }};\n'
        for each in (GOOD, BAD, PLAIN)
    )
    authority = options(serving, port, "recursion no; dnssec-validation no;") + zones
    checking = (
        options(
            validating, other, "recursion yes; allow-recursion { any; }; dnssec-validation yes;"
        )
        + f"trust-anchors {{ {' '.join(anchors)} }};\n"
        + forwards
    )
    with (
        named(serving, port, authority, GOOD),
        named(validating, other, checking, GOOD) as endpoint,
    ):
        yield Resolver(endpoint.address, threading.Event())


def test_a_zone_with_signatures_that_have_expired_is_an_error(resolver: Resolver) -> None:
    (found,) = dnssec_findings(BAD, resolver)

    assert (found.code, found.severity, found.subject) == ("dns.dnssec", "error", BAD)
    assert "fails DNSSEC validation" in found.message
    assert f"delv {BAD} A" in str(found.fix)


@pytest.mark.parametrize("zone", [GOOD, PLAIN])
def test_a_zone_that_is_well_signed_or_not_at_all_is_none(resolver: Resolver, zone: str) -> None:
    assert list(dnssec_findings(zone, resolver)) == []
