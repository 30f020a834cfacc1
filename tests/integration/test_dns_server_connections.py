"""Many queries to one server: answers out of order, twice, missing, or forged."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Self

import dns.flags
import dns.message
import dns.rrset
import pytest

from certctl.dns.queries import NoReply, Server
from certctl.dns.server_connections import MAX_DATAGRAMS, ServerConnection

Datagrams = Callable[[bytes, int], Sequence[bytes]]
"""What a server sends for a datagram, of which it has had so many before."""


def reply(wire: bytes, *, cut_short: bool = False) -> bytes:
    """The answer of a server that has everything."""
    query = dns.message.from_wire(wire)
    answer = dns.message.make_response(query)
    name = query.question[0].name
    if cut_short:
        answer.flags |= dns.flags.TC
    else:
        answer.answer.append(dns.rrset.from_text(name, 1, "IN", "TXT", f'"of {name}"'))
    return answer.to_wire()


@contextlib.contextmanager
def datagram_server(answers: Datagrams) -> Iterator[Server]:
    """Answer datagrams as `answers` says; nobody listens at TCP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            had = 0
            while len(wire := (received := sock.recvfrom(65_535))[0]) > 1:
                for each in answers(wire, had):
                    sock.sendto(each, received[1])
                had += 1

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Server("127.0.0.1", sock.getsockname()[1])
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
                end.sendto(b"!", sock.getsockname())
            thread.join()


class StreamServer:
    """Answers what comes over TCP `at_a_time` messages together, the last one first, and hangs up
    after `connection_ends` of them.
    """

    def __init__(self, *, at_a_time: int = 1, connection_ends: int = 1_000) -> None:
        self.connections = 0
        self._at_a_time = at_a_time
        self._connection_ends = connection_ends
        self._listener = socket.create_server(("127.0.0.1", 0))

    @property
    def server(self) -> Server:
        return Server("127.0.0.1", self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone would not end an accept that is under way.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                with connection, connection.makefile("rb") as stream:
                    self._answer(connection, stream.read)

    def _answer(self, connection: socket.socket, read: Callable[[int], bytes]) -> None:
        held: list[bytes] = []
        for _ in range(self._connection_ends):
            if not (prefix := read(2)):
                return
            held.append(reply(read(int.from_bytes(prefix))))
            if len(held) == self._at_a_time:
                for each in reversed(held):
                    connection.sendall(len(each).to_bytes(2) + each)
                held = []


@contextlib.contextmanager
def line(server: Server) -> Iterator[ServerConnection]:
    with contextlib.closing(
        ServerConnection(server, recurse=False, stopped=lambda: False)
    ) as opened:
        yield opened


def names(count: int) -> list[str]:
    return [f"n{number}.example" for number in range(count)]


def ask(to: ServerConnection, asked: Sequence[str]) -> dict[str, str]:
    """Return what the server says of each name, or why it says nothing."""
    return {
        name: str(answer) if isinstance(answer, NoReply) else str(answer.answer[0][0])
        for name, answer in to.ask(asked, "TXT").items()
    }


def everything(asked: Sequence[str]) -> dict[str, str]:
    return {name: f'"of {name}."' for name in asked}


def test_answers_may_come_in_any_order_and_twice() -> None:
    held: list[bytes] = []

    def answers(wire: bytes, _: int) -> list[bytes]:
        held.append(reply(wire))
        return [] if len(held) < 3 else [*reversed(held), *held]

    with datagram_server(answers) as server, line(server) as to:
        assert ask(to, names(3)) == everything(names(3))


def test_a_datagram_that_is_lost_is_sent_again() -> None:
    def answers(wire: bytes, had: int) -> list[bytes]:
        return [] if had == 0 else [reply(wire)]

    with datagram_server(answers) as server, line(server) as to:
        assert ask(to, names(1)) == everything(names(1))


def test_a_message_that_answers_no_query_is_ignored() -> None:
    def answers(wire: bytes, _: int) -> list[bytes]:
        query = dns.message.from_wire(wire)
        query.id ^= 1
        other_number = reply(query.to_wire())
        query.id ^= 1
        other_name = dns.message.make_query("forged.example", "TXT", id=query.id)
        return [
            b"",
            b"\x00",
            wire,
            wire[:2] + b"\xff" * 40,
            other_number,
            reply(other_name.to_wire()),
            reply(wire)[:-3],
            reply(wire),
        ]

    with datagram_server(answers) as server, line(server) as to:
        assert ask(to, names(2)) == everything(names(2))


def test_a_truncated_answer_is_fetched_over_tcp_and_its_absence_reported() -> None:
    with (
        datagram_server(lambda wire, _: [reply(wire, cut_short=True)]) as server,
        line(server) as to,
    ):
        assert ask(to, names(1)) == {"n0.example": "Connection refused"}


def test_many_questions_share_a_connection_which_is_kept() -> None:
    many = names(MAX_DATAGRAMS + 4)
    with StreamServer(at_a_time=4) as server, line(server.server) as to:
        assert ask(to, many) == everything(many)
        assert ask(to, many) == everything(many)

    assert server.connections == 1


def test_a_closed_connection_is_opened_again() -> None:
    many = names(MAX_DATAGRAMS + 1)
    with StreamServer(connection_ends=len(many)) as server, line(server.server) as to:
        assert ask(to, many) == everything(many)
        assert ask(to, many) == everything(many)

    assert server.connections == 2


@pytest.mark.parametrize("messages", [1, 3])
def test_a_server_that_answers_few_questions_a_connection_gets_more_connections(
    messages: int,
) -> None:
    many = names(MAX_DATAGRAMS + 1)
    with StreamServer(connection_ends=messages) as server, line(server.server) as to:
        assert ask(to, many) == everything(many)

    assert server.connections >= len(many) / messages


def test_a_server_that_closes_without_an_answer_is_not_retried() -> None:
    with StreamServer(connection_ends=0) as server, line(server.server) as to:
        said = set(ask(to, names(MAX_DATAGRAMS + 1)).values())

    assert len(said) == 1
    assert "TCP: " in said.pop()
