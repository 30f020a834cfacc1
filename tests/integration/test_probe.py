"""The probe against real TLS servers: what they show, to whom, and when it changes."""

import hashlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certctl.deploy.probe import WILDCARD_LABEL, ProbeSystem, probe
from certctl.model.errors import Interrupted
from certctl.model.events import Event
from certctl.model.spec import ServiceAddress
from certctl.system.clock import SystemClock
from tests.lab.clock import SteerableClock
from tests.lab.ports import free_port
from tests.lab.tls import TlsServer
from tests.support.homes import issued
from tests.support.nouns import wanted

Files = tuple[Path, Path]


@dataclass
class Bench:
    """Certificates in files, and a probe whose waiting takes no time."""

    directory: Path
    clock: SteerableClock = field(default_factory=SteerableClock)
    stop: threading.Event = field(default_factory=threading.Event)
    events: list[Event] = field(default_factory=list)

    def certificate(self, names: str) -> tuple[str, Files]:
        """A new certificate for these names: its SHA-256, and the files that a server loads."""
        version, material = issued(wanted(names), datetime.now(UTC))
        place = self.directory / version.facts.sha256[:16]
        place.mkdir()
        assert material.privkey is not None
        (place / "fullchain.pem").write_bytes(material.fullchain)
        (place / "privkey.pem").write_bytes(material.privkey)
        return version.facts.sha256, (place / "fullchain.pem", place / "privkey.pem")

    def system(self, timeout: float = 30.0, connection_timeout: float = 5.0) -> ProbeSystem:
        return ProbeSystem(
            self.clock, self.stop, self.events.append, timeout, "a.example", connection_timeout
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_leaf_that_is_served_is_good(bench: Bench) -> None:
    digest, files = bench.certificate("a.example")

    with TlsServer({"": [files]}) as server:
        here = ServiceAddress("127.0.0.1", server.port)
        (result,) = probe(here, ["a.example"], digest, bench.system())

    assert (result.sha256, result.error) == (digest, None)
    assert result.not_after is not None
    assert (result.address, result.server_name) == ("127.0.0.1", "a.example")
    assert [event.kind for event in bench.events] == ["verify.done"]
    assert bench.clock.waits == []


def test_each_name_is_asked_for_by_sni_a_wildcard_by_a_made_up_label_an_address_by_none(
    bench: Bench,
) -> None:
    digest, files = bench.certificate("a.example")
    names = ["a.example", "*.b.example", "192.0.2.1"]

    with TlsServer({"": [files]}) as server:
        here = ServiceAddress("127.0.0.1", server.port)
        results = probe(here, names, digest, bench.system())

    assert [each.server_name for each in results] == names
    asked = {"a.example", f"{WILDCARD_LABEL}.b.example", None}
    assert set(server.asked) == asked


def test_a_name_that_shows_another_certificate_is_told_with_what_was_seen(bench: Bench) -> None:
    digest, files = bench.certificate("a.example,b.example")
    old, old_files = bench.certificate("b.example")

    with TlsServer({"": [files], "b.example": [old_files]}) as server:
        here = ServiceAddress("127.0.0.1", server.port)
        good, bad = probe(here, ["a.example", "b.example"], digest, bench.system())

    assert good.error is None
    assert bad.sha256 == old
    assert bad.error is not None
    assert bad.error.startswith("another certificate is served: serial ")
    assert bad.error.endswith("UTC, for b.example")
    assert bad.not_after is not None
    assert f"valid until {bad.not_after:%Y-%m-%d %H:%M}" in bad.error
    assert sorted(event.kind for event in bench.events) == ["verify.done", "verify.failed"]


def test_a_reload_that_takes_its_time_is_waited_for_with_growing_pauses(bench: Bench) -> None:
    _, old_files = bench.certificate("a.example")
    digest, files = bench.certificate("a.example")

    with TlsServer({"": [old_files]}) as server:

        def reload(_seconds: float) -> None:
            if len(bench.clock.waits) == 3:
                server.serve({"": [files]})

        bench.clock = SteerableClock(on_wait=reload)
        here = ServiceAddress("127.0.0.1", server.port)
        (result,) = probe(here, ["a.example"], digest, bench.system())

    assert result.error is None
    assert bench.clock.waits == [0.2, 0.4, 0.8]


def test_a_probe_ends_at_its_timeout(bench: Bench) -> None:
    digest, _ = bench.certificate("a.example")
    _, old_files = bench.certificate("a.example")

    with TlsServer({"": [old_files]}) as server:
        here = ServiceAddress("127.0.0.1", server.port)
        (result,) = probe(here, ["a.example"], digest, bench.system(timeout=10))

    assert result.error is not None
    assert sum(bench.clock.waits) == pytest.approx(10)
    assert max(bench.clock.waits) <= 3


def test_what_was_good_is_not_asked_again(bench: Bench) -> None:
    digest, files = bench.certificate("a.example")
    _, old_files = bench.certificate("b.example")

    with TlsServer({"": [files], "b.example": [old_files]}) as server:
        here = ServiceAddress("127.0.0.1", server.port)
        probe(here, ["a.example", "b.example"], digest, bench.system(timeout=1))

    assert server.asked.count("a.example") == 1
    assert server.asked.count("b.example") > 2


def test_without_an_expectation_any_leaf_is_good_and_nothing_is_waited_for(bench: Bench) -> None:
    digest, files = bench.certificate("a.example")

    with TlsServer({"": [files]}) as server:
        (result,) = probe(
            ServiceAddress("127.0.0.1", server.port), ["x.example"], None, bench.system()
        )

    assert (result.sha256, result.error, bench.clock.waits) == (digest, None, [])


def test_nobody_there_is_a_refused_connection(bench: Bench) -> None:
    port = free_port()
    (result,) = probe(ServiceAddress("127.0.0.1", port), ["a.example"], None, bench.system())

    assert (result.sha256, result.error) == (None, "connection refused")


def test_this_machine_is_looked_at_where_it_listens(bench: Bench) -> None:
    digest, files = bench.certificate("a.example")
    port = free_port()

    with TlsServer({"": [files]}, port=port):
        only_v4 = probe(ServiceAddress(None, port), ["a.example"], digest, bench.system())
    with TlsServer({"": [files]}, port=port, hosts=("::1", "127.0.0.1")):
        both = probe(ServiceAddress(None, port), ["a.example"], digest, bench.system())
    neither = probe(ServiceAddress(None, port), ["a.example"], digest, bench.system(timeout=0))

    assert [(each.address, each.error) for each in only_v4] == [("127.0.0.1", None)]
    assert {(each.address, each.error) for each in both} == {("127.0.0.1", None), ("::1", None)}
    assert [(each.address, each.error) for each in neither] == [("127.0.0.1", "connection refused")]


def test_one_address_that_lags_behind_is_seen(bench: Bench) -> None:
    digest, files = bench.certificate("a.example")
    _, old_files = bench.certificate("a.example")
    port = free_port()

    with (
        TlsServer({"": [files]}, port=port),
        TlsServer({"": [old_files]}, port=port, hosts=("::1",)),
    ):
        results = probe(ServiceAddress(None, port), ["a.example"], digest, bench.system(timeout=1))

    assert [(each.address, each.error is None) for each in results] == [
        ("127.0.0.1", True),
        ("::1", False),
    ]


def test_a_host_without_addresses_is_no_success(bench: Bench) -> None:
    (result,) = probe(
        ServiceAddress("nowhere.invalid", 443), ["a.example"], "00" * 32, bench.system(timeout=0)
    )

    assert result.error == "the host has no address in DNS"


def test_a_server_with_a_certificate_of_each_kind_is_asked_for_the_other_one(bench: Bench) -> None:
    ecdsa, ecdsa_files = bench.certificate("a.example")
    rsa_files = rsa_certificate(bench.directory, "a.example")
    rsa = digest_of(rsa_files[0])

    with TlsServer({"": [ecdsa_files, rsa_files]}) as server:
        here = ServiceAddress("127.0.0.1", server.port)
        found = [probe(here, ["a.example"], each, bench.system()) for each in (ecdsa, rsa)]

    assert [(each.sha256, each.error) for (each,) in found] == [(ecdsa, None), (rsa, None)]
    assert bench.clock.waits == []


def test_plain_http_is_told_apart(bench: Bench) -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        connection.close()

    with listening(talk) as port:
        (result,) = probe(ServiceAddress("127.0.0.1", port), ["a.example"], None, bench.system())

    assert result.error == "the TLS handshake failed: the server does not speak TLS on this port"


def test_a_server_that_says_nothing_costs_no_more_than_the_time_limit(bench: Bench) -> None:
    with listening(hear) as port:
        (result,) = probe(
            ServiceAddress("127.0.0.1", port),
            ["a.example"],
            None,
            bench.system(connection_timeout=0.3),
        )

    assert result.error == "no answer within 0.3 s"


def test_a_drip_fed_greeting_costs_no_more_than_the_time_limit(bench: Bench) -> None:
    def drip(connection: socket.socket) -> None:
        ended = threading.Event()
        for _ in range(100):
            connection.sendall(b"2")
            if ended.wait(0.05):
                return

    with listening(drip) as port:
        (result,) = probe(
            ServiceAddress("127.0.0.1", port, "smtp"),
            ["a"],
            None,
            bench.system(connection_timeout=0.3),
        )

    assert result.error == "no answer within 0.3 s"


def test_a_run_that_is_stopped_does_not_wait(bench: Bench) -> None:
    bench.clock = SteerableClock(on_wait=lambda _seconds: bench.stop.set())

    with pytest.raises(Interrupted):
        probe(ServiceAddress("127.0.0.1", free_port()), ["a"], "00" * 32, bench.system())

    assert len(bench.clock.waits) == 1


def test_time_passes_by_the_systems_clock_too(bench: Bench) -> None:
    system = ProbeSystem(SystemClock(), bench.stop, bench.events.append, timeout=0.3)

    (result,) = probe(ServiceAddress("127.0.0.1", free_port()), ["a"], "00" * 32, system)

    assert result.error == "connection refused"


# Plain words first


def smtp(connection: socket.socket) -> None:
    with connection.makefile("rwb") as stream:
        stream.write(b"220-mail.example\r\n220 ready\r\n")
        stream.flush()
        assert stream.readline().startswith(b"EHLO ")
        stream.write(b"250-mail.example\r\n250-PIPELINING\r\n250 STARTTLS\r\n")
        stream.flush()
        assert stream.readline() == b"STARTTLS\r\n"
        stream.write(b"220 go on\r\n")


def imap(connection: socket.socket) -> None:
    with connection.makefile("rwb") as stream:
        stream.write(b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n")
        stream.flush()
        tag = stream.readline().split()[0]
        stream.write(b"* CAPABILITY x\r\n" + tag + b" OK begin\r\n")


def pop3(connection: socket.socket) -> None:
    with connection.makefile("rwb") as stream:
        stream.write(b"+OK ready\r\n")
        stream.flush()
        assert stream.readline() == b"STLS\r\n"
        stream.write(b"+OK begin\r\n")


def ldap(connection: socket.socket) -> None:
    assert b"1.3.6.1.4.1.1466.20037" in connection.recv(100)
    connection.sendall(bytes.fromhex("300c02010178070a010004000400"))


@pytest.mark.parametrize("talk", [smtp, imap, pop3, ldap])
def test_plain_words_come_first_where_the_protocol_wants_them(
    bench: Bench, talk: Callable[[socket.socket], None]
) -> None:
    digest, files = bench.certificate("a.example")

    with TlsServer({"": [files]}, preface=talk) as server:
        here = ServiceAddress("127.0.0.1", server.port, talk.__name__)
        (result,) = probe(here, ["a.example"], digest, bench.system(timeout=0))

    assert (result.sha256, result.error) == (digest, None)


@pytest.mark.parametrize(
    ("starttls", "said", "reason"),
    [
        ("smtp", b"220 x\r\n250 x\r\n", "the server does not offer STARTTLS"),
        (
            "smtp",
            b"554 go away\x1b[2J\r\n",
            "unexpected response from the server: '554 go away [2J'",
        ),
        (
            "smtp",
            b"220 x\r\n250 STARTTLS\r\n454 not now\r\n",
            "unexpected response from the server: '454 not now'",
        ),
        ("imap", b"* BYE\r\n", "unexpected response from the server: '* BYE'"),
        ("imap", b"* OK\r\na1 NO\r\n", "unexpected response from the server: 'a1 NO'"),
        ("pop3", b"-ERR\r\n", "unexpected response from the server: '-ERR'"),
        ("pop3", b"+OK\r\n-ERR no\r\n", "unexpected response from the server: '-ERR no'"),
        ("ldap", bytes.fromhex("300c02010178070a013504000400"), "StartTLS with result code 53"),
        ("ldap", b"HTTP/1.1 400 Bad Request\r\n", "does not speak LDAP"),
        ("imap", b"", "closed the connection before the TLS handshake"),
        ("pop3", b"x" * 70_000, "more than 64 KiB before the TLS handshake"),
    ],
)
def test_a_server_that_does_not_change_to_tls_is_quoted(
    bench: Bench, starttls: str, said: bytes, reason: str
) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        hear(connection)

    with listening(talk) as port:
        here = ServiceAddress("127.0.0.1", port, starttls)
        (result,) = probe(here, ["a.example"], None, bench.system())

    assert result.error is not None
    assert reason in result.error


def hear(connection: socket.socket) -> None:
    """Say nothing, until the other side has gone."""
    while connection.recv(1000):
        pass


@contextmanager
def listening(talk: Callable[[socket.socket], object]) -> Iterator[int]:
    """A server for one connection, which it talks to as it is told; the port."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(5)
                try:
                    talk(connection)
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        stack.callback(thread.join, 10)
        yield listener.getsockname()[1]


def rsa_certificate(directory: Path, name: str) -> Files:
    """A self-signed certificate with an RSA key, by other code than ours."""
    files = directory / "rsa.pem", directory / "rsa.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "7"),
            *("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"),
            *("-out", str(files[0]), "-keyout", str(files[1])),
        ],
        check=True,
        capture_output=True,
    )
    return files


def digest_of(pem: Path) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.read_text())).hexdigest()
