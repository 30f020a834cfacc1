"""The standalone HTTP-01 server over real sockets, with clients good and bad."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from certctl.challenges.answers import REQUEST_WAIT_SECONDS, Answers
from certctl.challenges.challenge_server import MAX_CONNECTIONS, ChallengeServer
from certctl.challenges.http01_server import MAX_REQUEST_BYTES, HttpConnection
from certctl.challenges.http01_standalone import StandaloneSolver
from certctl.challenges.listeners import open_listeners
from certctl.challenges.system import SolverSystem
from certctl.model.errors import ChallengeError
from certctl.model.validation import Placement
from tests.lab.clock import SteerableClock
from tests.lab.ports import free_port
from tests.support.http01 import (
    PATH,
    exchange,
    http_task,
    needs_ipv6,
    real_system,
    request,
)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def solver(port: int) -> Iterator[StandaloneSolver]:
    solver = StandaloneSolver(None, port, real_system())
    yield solver
    solver.close()


def present(solver: StandaloneSolver, *tokens: str, certificate: str = "a") -> list[Placement]:
    placements = [solver.plan(http_task(token, certificate=certificate)) for token in tokens]
    solver.present(placements)
    return placements


def test_a_presented_token_is_answered_with_its_key_authorization(
    solver: StandaloneSolver, port: int
) -> None:
    present(solver, "abc")

    response = request(port, PATH + "abc")

    assert response.status == 200
    assert response.body == b"abc.thumbprint"
    assert response.headers == {
        "Content-Type": "application/octet-stream",
        "Content-Length": "14",
        "Connection": "close",
    }


def test_head_has_the_headers_of_get_and_no_body(solver: StandaloneSolver, port: int) -> None:
    present(solver, "abc")

    response = request(port, PATH + "abc", method="HEAD")

    assert (response.status, response.headers["Content-Length"], response.body) == (200, "14", b"")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (f"GET {PATH}unknown HTTP/1.1\r\n\r\n", 404),
        (f"GET {PATH} HTTP/1.1\r\n\r\n", 404),
        (f"GET {PATH}../acme-challenge/abc HTTP/1.1\r\n\r\n", 404),
        ("GET / HTTP/1.1\r\n\r\n", 404),
        ("GET /etc/passwd HTTP/1.0\r\n\r\n", 404),
        (f"POST {PATH}abc HTTP/1.1\r\n\r\n", 405),
        (f"GET http://example.com{PATH}abc HTTP/1.1\r\n\r\n", 200),
        (f"GET {PATH}abc HTTP/1.0\n\n", 200),
        ("PRI * HTTP/2.0\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        ("\x16\x03\x01 hello\r\n\r\n", 400),
        ("GET " + "x" * 20_000, 431),
        (f"GET {PATH}abc HTTP/1.1\r\nX: {'x' * MAX_REQUEST_BYTES}\r\n\r\n", 431),
    ],
)
def test_each_kind_of_request_has_its_status(
    solver: StandaloneSolver, port: int, sent: str, status: int
) -> None:
    present(solver, "abc")

    response = exchange(port, sent.encode("latin-1"))

    assert response.status == status
    assert response.headers["Content-Length"] == str(len(response.body))


def test_a_request_may_come_in_pieces(solver: StandaloneSolver, port: int) -> None:
    present(solver, "abc")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for each in f"GET {PATH}abc HTTP/1.1\r\n\r\n":
            client.sendall(each.encode())
        assert client.recv(4096).endswith(b"abc.thumbprint")


@needs_ipv6
def test_both_families_are_served(solver: StandaloneSolver, port: int) -> None:
    present(solver, "abc")

    assert request(port, PATH + "abc", host="127.0.0.1").status == 200
    assert request(port, PATH + "abc", host="::1").status == 200


@needs_ipv6
def test_scenario_34_an_ipv6_address_alone_serves_ipv6_alone(port: int) -> None:
    solver = StandaloneSolver("::1", port, real_system())
    with contextlib.closing(solver):
        present(solver, "abc")

        assert request(port, PATH + "abc", host="::1").status == 200
        with pytest.raises(ConnectionRefusedError):
            request(port, PATH + "abc", host="127.0.0.1")


def test_nothing_listens_before_the_first_answer_and_after_the_last(
    solver: StandaloneSolver, port: int
) -> None:
    with pytest.raises(ConnectionRefusedError):
        request(port, PATH + "abc")
    placements = present(solver, "abc", "def")

    solver.cleanup(placements[:1])

    assert request(port, PATH + "abc").status == 404
    assert request(port, PATH + "def").status == 200

    solver.cleanup(placements)

    with pytest.raises(ConnectionRefusedError):
        request(port, PATH + "def")


def test_the_listener_opens_again_for_a_later_order(solver: StandaloneSolver, port: int) -> None:
    solver.cleanup(present(solver, "abc"))
    present(solver, "def")

    assert request(port, PATH + "def").status == 200


def test_two_orders_that_share_a_token_both_have_their_answer(
    solver: StandaloneSolver, port: int
) -> None:
    first = present(solver, "shared", certificate="a")
    second = present(solver, "shared", certificate="b")

    solver.cleanup(first)
    assert request(port, PATH + "shared").status == 200

    solver.cleanup(second)
    with pytest.raises(ConnectionRefusedError):
        request(port, PATH + "shared")


def test_orders_at_the_same_time_share_one_listener(solver: StandaloneSolver, port: int) -> None:
    statuses: list[int] = []

    def order(number: int) -> None:
        placements = present(solver, f"token-{number}", certificate=str(number))
        statuses.append(request(port, f"{PATH}token-{number}").status)
        solver.cleanup(placements)

    threads = [threading.Thread(target=order, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [200] * 20
    with pytest.raises(ConnectionRefusedError):
        request(port, PATH + "token-1")


def test_what_another_process_left_is_nothing_to_clean_up(solver: StandaloneSolver) -> None:
    solver.cleanup([solver.plan(http_task("abc"))])


@pytest.mark.usefixtures("many_descriptors")
def test_scenario_34_five_hundred_stalled_clients_do_not_delay_the_next_one(
    solver: StandaloneSolver, port: int
) -> None:
    present(solver, "abc")
    with contextlib.ExitStack() as stalled:
        for number in range(500):
            client = stalled.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(b"GET /" if number % 2 else b"")

        statuses = [request(port, PATH + "abc").status for _ in range(100)]

    # Each has 5 s before its socket gives up, half of what the server grants a stalled client.
    assert statuses == [200] * 100


@pytest.mark.usefixtures("many_descriptors")
def test_scenario_34_more_clients_than_are_allowed_push_out_the_oldest(
    solver: StandaloneSolver, port: int
) -> None:
    present(solver, "abc")
    with contextlib.ExitStack() as stalled:
        clients = [
            stalled.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            for _ in range(MAX_CONNECTIONS)
        ]
        assert request(port, PATH + "abc").status == 200

        assert clients[0].recv(1) == b""
        clients[-1].sendall(f"GET {PATH}abc HTTP/1.1\r\n\r\n".encode())
        assert clients[-1].recv(4096).startswith(b"HTTP/1.1 200 ")


def test_scenario_34_a_client_that_never_stops_sending_is_answered_and_dropped(
    solver: StandaloneSolver, port: int
) -> None:
    present(solver, "abc")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            send_for_ever(client)
        assert request(port, PATH + "abc").status == 200


def send_for_ever(client: socket.socket) -> None:
    while True:
        client.sendall(b"x" * 65536)


def test_closing_drops_the_clients_that_are_still_there(port: int) -> None:
    answers = Answers[str]()
    connection = partial(HttpConnection, answers)
    server = ChallengeServer(open_listeners("127.0.0.1", port), connection, "http-01")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"GET /")
        answers.add("abc", "abc.thumbprint")
        assert request(port, PATH + "abc").status == 200

        server.close()

        assert client.recv(1) == b""


HOLD_A_PORT = """
import socket, sys
listener = socket.socket()
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
print("listening", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/net/tcp")
def test_scenario_34_a_port_that_is_taken_is_reported_with_the_process_that_has_it(
    solver: StandaloneSolver, port: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_A_PORT, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(ChallengeError) as caught:
            present(solver, "abc")
        holder.communicate()

    assert caught.value.code == "challenge.http.port_taken"
    assert f"port {port} is in use by python" in caught.value.message
    assert f"(pid {holder.pid})" in caught.value.message
    assert caught.value.hint is not None
    assert "--webroot" in caught.value.hint


def test_a_port_that_another_certctl_has_is_waited_for(solver: StandaloneSolver, port: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_A_PORT, str(port), "certctl"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        waiting = threading.Thread(target=present, args=(solver, "abc"))
        waiting.start()
        waiting.join(timeout=1)
        assert waiting.is_alive()
        holder.communicate()
        waiting.join(timeout=30)

    assert request(port, PATH + "abc").status == 200


@needs_ipv6
def test_after_a_taken_port_nothing_is_left_open_and_the_next_try_works(
    solver: StandaloneSolver, port: int
) -> None:
    with socket.create_server(("::1", port), family=socket.AF_INET6):
        with pytest.raises(ChallengeError):
            present(solver, "abc")
        # IPv4 was free: had its listener stayed open, this would connect.
        with pytest.raises(ConnectionRefusedError):
            request(port, PATH + "abc")

    present(solver, "abc")
    assert request(port, PATH + "abc").status == 200


def test_an_address_of_another_machine_is_an_error_that_names_the_option(port: int) -> None:
    solver = StandaloneSolver("192.0.2.200", port, real_system())

    with pytest.raises(ChallengeError) as caught:
        present(solver, "abc")

    assert caught.value.code == "challenge.http.address"
    assert caught.value.hint is not None
    assert "--http-address" in caught.value.hint


LISTEN_UNPRIVILEGED = """
import os
import encodings.idna  # looked for by getaddrinfo, and another user may not find it
from certctl.challenges.listeners import open_listeners
from certctl.model.errors import ChallengeError
os.setuid(65534)
try:
    open_listeners("127.0.0.1", 81)
except ChallengeError as error:
    print(error.code, "--http-port" in error.hint, "--webroot" in error.hint)
"""


def low_ports_are_guarded() -> bool:
    # Docker, for one, lets everybody have every port.
    first = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    return first.exists() and int(first.read_text()) > 81


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user, which takes root")
@pytest.mark.skipif(not low_ports_are_guarded(), reason="here everybody may have low ports")
def test_a_low_port_without_permission_is_an_error_with_solutions() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LISTEN_UNPRIVILEGED], capture_output=True, text=True, check=True
    )

    assert ended.stdout.split() == ["challenge.http.permission", "True", "True"]


def test_waiting_ends_once_every_token_was_requested(port: int) -> None:
    clock = SteerableClock(on_wait=lambda _: requests_of_a_ca(port, "abc", "def"))
    solver = StandaloneSolver(None, port, SolverSystem(clock, threading.Event()))
    with contextlib.closing(solver):
        placements = present(solver, "abc", "def")

        solver.wait_for_validation(placements)

        assert len(clock.waits) == 1


def requests_of_a_ca(port: int, *tokens: str) -> None:
    for token in tokens:
        assert request(port, PATH + token).status == 200


def test_waiting_returns_at_once_if_the_ca_was_faster(port: int) -> None:
    clock = SteerableClock()
    solver = StandaloneSolver(None, port, SolverSystem(clock, threading.Event()))
    with contextlib.closing(solver):
        placements = present(solver, "abc")
        requests_of_a_ca(port, "abc")

        solver.wait_for_validation(placements)

        assert clock.waits == []


def test_waiting_ends_after_its_time_if_another_machine_got_the_request(port: int) -> None:
    clock = SteerableClock()
    solver = StandaloneSolver(None, port, SolverSystem(clock, threading.Event()))
    with contextlib.closing(solver):
        placements = present(solver, "abc", "def")
        requests_of_a_ca(port, "abc")

        solver.wait_for_validation(placements)

        assert clock.monotonic() == pytest.approx(REQUEST_WAIT_SECONDS)


def test_waiting_ends_when_the_run_is_stopped(port: int) -> None:
    stop = threading.Event()
    clock = SteerableClock(on_wait=lambda _: stop.set())
    solver = StandaloneSolver(None, port, SolverSystem(clock, stop))
    with contextlib.closing(solver):
        solver.wait_for_validation(present(solver, "abc"))

        assert len(clock.waits) == 1
