"""The TLS-ALPN-01 server over real sockets, with clients good and bad."""

import contextlib
import hashlib
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from cryptography import x509

from certctl.challenges.answers import REQUEST_WAIT_SECONDS
from certctl.challenges.challenge_server import MAX_CONNECTIONS
from certctl.challenges.system import SolverSystem
from certctl.challenges.tls_alpn01 import TlsAlpnSolver
from certctl.challenges.tls_alpn01_server import MAX_HANDSHAKE_BYTES
from certctl.model.ca import ChallengeType
from certctl.model.errors import ChallengeError, Interrupted
from certctl.model.names import parse_identifier
from certctl.model.validation import Placement, Task
from certctl.rules.validation_certificate import ACME_IDENTIFIER, validation_certificate
from tests.lab.clock import SteerableClock
from tests.lab.ports import free_port
from tests.lab.processes import wait_until
from tests.support.http01 import needs_ipv6, real_system


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def solver(port: int) -> Iterator[TlsAlpnSolver]:
    solver = TlsAlpnSolver(None, port, real_system())
    yield solver
    solver.close()


def task(name: str, token: str = "t", certificate: str = "a") -> Task:  # noqa: S107 - no secret
    return Task(
        identifier=parse_identifier(name),
        type=ChallengeType.TLS_ALPN_01,
        token=token,
        key_authorization=f"{token}.thumbprint",
        account_url="https://ca.test/account/1",
        certificate=certificate,
    )


def present(
    solver: TlsAlpnSolver,
    *names: str,
    token: str = "t",  # noqa: S107 - no secret
    certificate: str = "a",
) -> list[Placement]:
    placements = [solver.plan(task(name, token, certificate)) for name in names]
    solver.present(placements)
    return placements


def shown(
    port: int, server_name: str, *, alpn: tuple[str, ...] = ("acme-tls/1",), host: str = "127.0.0.1"
) -> tuple[x509.Certificate, str | None]:
    """The certificate that a client is shown, and the protocol agreed on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(alpn))
    with (
        socket.create_connection((host, port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=server_name) as secured,
    ):
        der = secured.getpeercert(binary_form=True)
        assert der is not None
        assert secured.recv(1) == b""  # not a byte after the handshake
        return x509.load_der_x509_certificate(der), secured.selected_alpn_protocol()


def digest_in(certificate: x509.Certificate) -> bytes:
    value = certificate.extensions.get_extension_for_oid(ACME_IDENTIFIER).value
    assert isinstance(value, x509.UnrecognizedExtension)
    return value.value


def digest_of(token: str) -> bytes:
    return b"\x04\x20" + hashlib.sha256(f"{token}.thumbprint".encode()).digest()


def test_the_certificate_is_that_of_the_rfc(solver: TlsAlpnSolver, port: int) -> None:
    present(solver, "a.example", "b.example")

    certificate, protocol = shown(port, "a.example")

    assert protocol == "acme-tls/1"
    certificate.verify_directly_issued_by(certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert list(names.value) == [x509.DNSName("a.example")]
    assert certificate.extensions.get_extension_for_oid(ACME_IDENTIFIER).critical
    assert digest_in(certificate) == digest_of("t")


def test_its_time_has_room_for_a_clock_that_is_behind() -> None:
    clock = SteerableClock()

    pem = validation_certificate(parse_identifier("a.example"), "t.thumbprint", clock.now())

    certificate = x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERTIFICATE") :])
    assert certificate.not_valid_before_utc <= clock.now() - timedelta(hours=12)
    assert certificate.not_valid_after_utc >= clock.now() + timedelta(hours=12)


@pytest.mark.parametrize(
    ("address", "server_name"),
    [
        ("192.0.2.7", "7.2.0.192.in-addr.arpa"),
        (
            "2001:db8::1",
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
        ),
    ],
)
def test_an_address_is_asked_for_by_its_reverse_name(
    solver: TlsAlpnSolver, port: int, address: str, server_name: str
) -> None:
    present(solver, address)

    certificate, _ = shown(port, server_name)

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert [str(each) for each in names.value.get_values_for_type(x509.IPAddress)] == [address]


def test_a_name_knows_no_case(solver: TlsAlpnSolver, port: int) -> None:
    present(solver, "a.example")

    assert digest_in(shown(port, "A.Example")[0]) == digest_of("t")


@pytest.mark.parametrize("server_name", ["other.example", "sub.a.example", None])
def test_a_client_with_another_name_or_none_is_refused(
    solver: TlsAlpnSolver, port: int, server_name: str | None
) -> None:
    present(solver, "a.example")

    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        shown(port, server_name)  # type: ignore[arg-type]


@pytest.mark.parametrize("offered", [(), ("h2", "http/1.1"), ("acme-tls/10",)])
def test_a_client_that_does_not_offer_the_protocol_gets_an_alert_and_no_certificate(
    solver: TlsAlpnSolver, port: int, offered: tuple[str, ...]
) -> None:
    present(solver, "a.example")

    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        shown(port, "a.example", alpn=offered)


def test_the_protocol_is_agreed_on_among_others(solver: TlsAlpnSolver, port: int) -> None:
    present(solver, "a.example")

    assert shown(port, "a.example", alpn=("h2", "acme-tls/1"))[1] == "acme-tls/1"


def test_nothing_listens_before_the_first_answer_and_after_the_last(
    solver: TlsAlpnSolver, port: int
) -> None:
    with pytest.raises(ConnectionRefusedError):
        shown(port, "a.example")
    placements = present(solver, "a.example", "b.example")

    solver.cleanup(placements[:1])
    with pytest.raises(ssl.SSLError):
        shown(port, "a.example")
    shown(port, "b.example")

    solver.cleanup(placements)
    with pytest.raises(ConnectionRefusedError):
        shown(port, "b.example")


def test_two_orders_with_different_answers_for_one_name_take_turns(
    solver: TlsAlpnSolver, port: int
) -> None:
    first = present(solver, "a.example", "b.example", token="one", certificate="first")
    second = present(solver, "b.example", "c.example", token="two", certificate="second")
    waited = threading.Event()

    def wait() -> None:
        solver.wait(second)
        waited.set()

    solver.wait(first)
    thread = threading.Thread(target=wait)
    thread.start()
    assert digest_in(shown(port, "b.example")[0]) == digest_of("one")
    assert not waited.is_set()

    solver.cleanup(first)

    thread.join(10)
    assert waited.is_set()
    assert digest_in(shown(port, "b.example")[0]) == digest_of("two")
    solver.cleanup(second)
    with pytest.raises(ConnectionRefusedError):
        shown(port, "b.example")


def test_two_orders_that_share_an_answer_both_have_it_until_they_end(
    solver: TlsAlpnSolver, port: int
) -> None:
    first = present(solver, "a.example", certificate="first")
    second = present(solver, "a.example", certificate="second")
    solver.wait(second)

    solver.cleanup(first)
    assert digest_in(shown(port, "a.example")[0]) == digest_of("t")

    solver.cleanup(second)
    with pytest.raises(ConnectionRefusedError):
        shown(port, "a.example")


def test_an_order_that_waits_for_its_turn_can_be_stopped(port: int) -> None:
    system = real_system()
    with contextlib.closing(TlsAlpnSolver("127.0.0.1", port, system)) as solver:
        present(solver, "a.example", token="one", certificate="first")
        second = present(solver, "a.example", token="two", certificate="second")
        system.stop.set()

        with pytest.raises(Interrupted):
            solver.wait(second)


def test_another_process_cleans_up_what_is_gone_with_the_first(
    solver: TlsAlpnSolver, port: int
) -> None:
    left_behind = [solver.plan(task("a.example"))]

    solver.cleanup(left_behind)
    solver.cleanup(left_behind)

    with pytest.raises(ConnectionRefusedError):
        shown(port, "a.example")


def test_a_wildcard_and_another_challenge_are_refused(solver: TlsAlpnSolver) -> None:
    with pytest.raises(ChallengeError, match="wildcard"):
        solver.plan(task("*.a.example"))
    with pytest.raises(ChallengeError, match="not tls-alpn-01"):
        solver.plan(
            Task(
                parse_identifier("a.example"),
                "http-01",
                "t",
                "t.thumbprint",
                "https://ca.test/1",
                "a",
            )
        )


def test_waiting_ends_once_every_name_was_requested(solver: TlsAlpnSolver, port: int) -> None:
    placements = present(solver, "a.example", "b.example")
    settled = threading.Thread(target=solver.wait_for_validation, args=(placements,))
    settled.start()

    shown(port, "a.example")
    shown(port, "b.example")

    settled.join(REQUEST_WAIT_SECONDS / 2)
    assert not settled.is_alive()


def test_a_visitor_without_the_protocol_does_not_count_as_the_ca(port: int) -> None:
    clock = SteerableClock(on_wait=lambda _: None)
    system = SolverSystem(clock, threading.Event())
    with contextlib.closing(TlsAlpnSolver("127.0.0.1", port, system)) as solver:
        placements = present(solver, "a.example")
        with pytest.raises(ssl.SSLError):
            shown(port, "a.example", alpn=("http/1.1",))
        begun = clock.monotonic()

        solver.wait_for_validation(placements)

        assert clock.monotonic() - begun == pytest.approx(REQUEST_WAIT_SECONDS)


@needs_ipv6
def test_both_families_are_served(solver: TlsAlpnSolver, port: int) -> None:
    present(solver, "a.example")

    assert shown(port, "a.example", host="127.0.0.1")[1] == "acme-tls/1"
    assert shown(port, "a.example", host="::1")[1] == "acme-tls/1"


def test_a_port_that_is_taken_names_its_holder(port: int) -> None:
    solver = TlsAlpnSolver("127.0.0.1", port, real_system())
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ChallengeError) as caught:
        present(solver, "a.example")

    assert caught.value.code == "challenge.tls_alpn.port_taken"
    assert f"port {port} of 127.0.0.1 is in use by" in caught.value.message
    assert f"(pid {os.getpid()})" in caught.value.message
    assert "--tls-alpn-port" in str(caught.value.hint)


def test_an_address_of_another_machine_is_reported() -> None:
    solver = TlsAlpnSolver("192.0.2.1", free_port(), real_system())

    with pytest.raises(ChallengeError) as caught:
        present(solver, "a.example")

    assert caught.value.code == "challenge.tls_alpn.address"
    assert "--tls-alpn-address" in str(caught.value.hint)


@pytest.mark.usefixtures("many_descriptors")
def test_clients_that_stall_in_any_number_delay_nobody(solver: TlsAlpnSolver, port: int) -> None:
    present(solver, "a.example")
    hello = client_hello("a.example")
    with contextlib.ExitStack() as stack:
        for number in range(MAX_CONNECTIONS + 50):
            client = socket.create_connection(("127.0.0.1", port), timeout=5)
            stack.enter_context(client)
            client.sendall(hello[: number % len(hello)])

        assert digest_in(shown(port, "a.example")[0]) == digest_of("t")


def test_a_client_that_sends_too_much_is_dropped(solver: TlsAlpnSolver, port: int) -> None:
    present(solver, "a.example")
    # Records of a handshake message that never comes to its end.
    record = b"\x16\x03\x01\x40\x00" + b"\x01\xff\xff\xff" + bytes(16380)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        with contextlib.suppress(OSError):
            for _ in range(2 * MAX_HANDSHAKE_BYTES // len(record) + 1):
                client.sendall(record)
        ended = b"?"
        with contextlib.suppress(OSError):
            while ended:
                ended = client.recv(4096)

    assert digest_in(shown(port, "a.example")[0]) == digest_of("t")


@pytest.mark.parametrize("pieces", [1, 7, 100_000])
def test_a_client_whose_first_message_comes_in_pieces_is_answered(
    solver: TlsAlpnSolver, port: int, pieces: int
) -> None:
    present(solver, "a.example")
    record = client_hello("a.example")
    message = record[5:]
    # The message in several TLS records, which themselves come in several segments.
    half = len(message) // 2
    sent = b"".join(
        record[:3] + len(part).to_bytes(2, "big") + part
        for part in (message[:half], message[half:])
    )
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(sent), pieces):
            client.sendall(sent[at : at + pieces])

        received = client.recv(4096)

    assert received[:1] == b"\x16"  # the server's handshake messages, not an alert


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x02\x01\x00", b""])
def test_an_invalid_handshake_is_ended(solver: TlsAlpnSolver, port: int, sent: bytes) -> None:
    present(solver, "a.example")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: client.recv(4096), b""))

    assert b"CERTIFICATE" not in received
    assert digest_in(shown(port, "a.example")[0]) == digest_of("t")


def test_closing_drops_the_clients_that_are_still_there(solver: TlsAlpnSolver, port: int) -> None:
    placements = present(solver, "a.example")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(client_hello("a.example")[:5])
        shown(port, "a.example")

        solver.cleanup(placements)

        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    wait_until(lambda: "tls-alpn-01" not in (each.name for each in threading.enumerate()), "an end")


def client_hello(server_name: str) -> bytes:
    """The first bytes of a client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["acme-tls/1"])
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server_name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()
