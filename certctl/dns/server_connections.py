"""Sends many queries to one DNS server at a time.

A few queries are sent as UDP datagrams, and again over TCP if the answer was truncated or did not
arrive. Many queries are pipelined over one persistent TCP connection (RFC 7766 §6.2), where none
are lost, and servers do not apply their rate limits for UDP. The callers interpret the answers.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import field

import dns.exception
import dns.flags
import dns.message
import dns.name

from certctl.dns.queries import NoReply, Server
from certctl.model.lazy_dataclass import dataclass

UDP_SECONDS = 1.5
TCP_SECONDS = 1.5
MAX_DATAGRAMS = 16
"""The number of queries that are sent as datagrams at the same time; more go over TCP."""

_REPEAT_SECONDS = 0.5
_PIPELINED = 32
_SLICE_SECONDS = 0.2
_LARGEST_DATAGRAM = 65_535
_PREFIX_BYTES = 2

Answer = dns.message.Message | NoReply


class ServerConnection:
    """A connection to one server, for use by one thread at a time; `recurse` is the RD bit.

    `stopped` is called often, and ends an exchange when it returns True.
    """

    def __init__(self, server: Server, *, recurse: bool, stopped: Callable[[], bool]) -> None:
        self.server = server
        self._recurse = recurse
        self._stopped = stopped
        self._family = socket.AF_INET6 if server.family == 6 else socket.AF_INET
        self._tcp: socket.socket | None = None
        self._pipelined = _PIPELINED

    def ask(self, names: Sequence[str], kind: str) -> dict[str, Answer]:
        """Return the answer for each name, with any response code, or why there is none.

        Waits no longer than `UDP_SECONDS` and `TCP_SECONDS` from one answer to the next.
        """
        exchange = _Exchange()
        for name in dict.fromkeys(names):
            exchange.add(name, kind, recurse=self._recurse)
        transports = [("UDP", UDP_SECONDS, self._by_udp), ("TCP", TCP_SECONDS, self._by_tcp)]
        if len(exchange.waiting) > MAX_DATAGRAMS:
            transports.reverse()
        problems: dict[str, str] = {}
        for protocol, seconds, send in transports:
            if not exchange.waiting or self._stopped():
                break
            try:
                send(exchange)
            except TimeoutError:
                problems[protocol] = f"no answer in {seconds:g} s"
            except OSError as error:
                problems[protocol] = error.strerror or str(error)
        problem = _summary(problems)
        return {
            **exchange.answers,
            **{question.name: NoReply(problem) for question in exchange.waiting.values()},
        }

    def close(self) -> None:
        """Close the TCP connection; the next query would open a new one."""
        tcp, self._tcp = self._tcp, None
        if tcp is not None:
            tcp.close()

    def _by_udp(self, exchange: _Exchange) -> None:
        """Raises `TimeoutError` if an answer is missing, but not if one is truncated."""
        with socket.socket(self._family, socket.SOCK_DGRAM) as sock:
            # Connected, so that a closed port is reported at once.
            sock.connect((self.server.address, self.server.port))
            questions = list(exchange.waiting.values())
            for some in _chunks(questions, MAX_DATAGRAMS):
                self._datagrams(sock, some, exchange)

    def _datagrams(
        self, sock: socket.socket, questions: Sequence[_Question], exchange: _Exchange
    ) -> None:
        started = time.monotonic()
        repeats = 0
        while missing := [each for each in questions if exchange.is_unanswered(each)]:
            spent = time.monotonic() - started
            if spent >= UDP_SECONDS or self._stopped():
                raise TimeoutError
            if spent >= repeats * _REPEAT_SECONDS:
                repeats += 1
                for each in missing:
                    sock.send(each.wire)
            sock.settimeout(min(_SLICE_SECONDS, UDP_SECONDS - spent))
            try:
                exchange.take(sock.recv(_LARGEST_DATAGRAM))
            except TimeoutError:
                continue

    def _by_tcp(self, exchange: _Exchange) -> None:
        """Raises OSError if an answer is missing."""
        exchange.truncated.clear()
        while exchange.waiting:
            kept = self._tcp is not None
            before = len(exchange.waiting)
            some = list(exchange.waiting.values())[: self._pipelined]
            try:
                self._stream(some, exchange)
            except TimeoutError:
                self.close()
                raise
            except OSError:
                self.close()
                if not kept and len(exchange.waiting) == before and self._pipelined == 1:
                    raise
                # The server may have closed an idle connection, and some servers answer only one
                # query per connection: retry until an attempt brings no answer.
                if not kept:
                    self._pipelined = 1

    def _stream(self, questions: Sequence[_Question], exchange: _Exchange) -> None:
        if self._tcp is None:
            self._tcp = socket.socket(self._family, socket.SOCK_STREAM)
            self._tcp.settimeout(TCP_SECONDS)
            self._tcp.connect((self.server.address, self.server.port))
        self._tcp.settimeout(TCP_SECONDS)
        self._tcp.sendall(
            b"".join(len(each.wire).to_bytes(_PREFIX_BYTES) + each.wire for each in questions)
        )
        while any(exchange.is_unanswered(each) for each in questions):
            size = int.from_bytes(self._read(self._tcp, _PREFIX_BYTES))
            exchange.take(self._read(self._tcp, size), whole=True)

    def _read(self, sock: socket.socket, count: int) -> bytes:
        received = b""
        started = time.monotonic()
        while len(received) < count:
            sock.settimeout(_SLICE_SECONDS)
            try:
                more = sock.recv(count - len(received))
            except TimeoutError:
                if time.monotonic() - started >= TCP_SECONDS or self._stopped():
                    raise
                continue
            if not more:
                raise ConnectionError("it closed the connection")
            received += more
        return received


@dataclass(frozen=True)
class _Question:
    name: str
    message: dns.message.QueryMessage
    wire: bytes


@dataclass
class _Exchange:
    """The unanswered queries by their ids, and the answers by name."""

    waiting: dict[int, _Question] = field(default_factory=dict)
    answers: dict[str, dns.message.Message] = field(default_factory=dict)
    truncated: set[int] = field(default_factory=set)

    def add(self, name: str, kind: str, *, recurse: bool) -> None:
        # Without EDNS, which some old servers and firewalls reject; long answers come over TCP.
        message = dns.message.make_query(dns.name.from_text(name), kind)
        while message.id in self.waiting:
            message.id = (message.id + 1) % 65_536
        if not recurse:
            message.flags &= ~dns.flags.RD
        self.waiting[message.id] = _Question(name, message, message.to_wire())

    def is_unanswered(self, question: _Question) -> bool:
        """Whether a question has no answer yet, not even a truncated one."""
        number = question.message.id
        return number in self.waiting and number not in self.truncated

    def take(self, wire: bytes, *, whole: bool = False) -> None:
        """Record an answer; ignore a message that answers none of the questions. With `whole`, a
        truncated answer is accepted as it is, and not requested again.
        """
        try:
            message = dns.message.from_wire(wire, ignore_trailing=True, raise_on_truncation=True)
        except dns.message.Truncated as error:
            message = error.message()  # type: ignore[no-untyped-call] # dnspython's
        except (dns.exception.DNSException, EOFError, ValueError):
            return
        question = self.waiting.get(message.id)
        if question is None or not question.message.is_response(message):
            return
        if message.flags & dns.flags.TC and not whole:
            self.truncated.add(message.id)
            return
        self.answers[question.name] = message
        del self.waiting[message.id]


class QueryQueue:
    """Queries one server for TXT records; names that are added during an exchange are combined in
    the next one. Thread-safe.

    `start` runs a function in another thread. In that thread, `report` is called with the answers,
    or `failed` with an unexpected exception.
    """

    def __init__(
        self,
        connection: ServerConnection,
        start: Callable[[Callable[[], None]], object],
        report: Callable[[Server, dict[str, Answer]], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._connection = connection
        self._start = start
        self._report = report
        self._failed = failed
        self._guard = threading.Lock()
        self._names: dict[str, None] = {}
        self._done = threading.Event()
        self._busy = False
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether an exchange is in progress."""
        return self._busy

    def query(self, names: Sequence[str]) -> threading.Event:
        """Query these names; the returned event is set once the answers have been reported."""
        with self._guard:
            self._names |= dict.fromkeys(names)
            done = self._done
            if not self._busy:
                self._busy = True
                self._start(self._work)
            return done

    def close(self) -> None:
        """Close the connection after the exchange in progress."""
        with self._guard:
            self._closed = True
            if not self._busy:
                self._connection.close()

    def _work(self) -> None:
        while True:
            with self._guard:
                names, done = self._names, self._done
                if not names:
                    self._busy = False
                    if self._closed:
                        self._connection.close()
                    return
                self._names, self._done = {}, threading.Event()
            try:
                self._report(self._connection.server, self._connection.ask(list(names), "TXT"))
            except Exception as error:  # noqa: BLE001 - any error must reach the waiting orders
                self._failed(error)
            finally:
                done.set()


def _chunks(questions: Sequence[_Question], size: int) -> list[Sequence[_Question]]:
    return [questions[start : start + size] for start in range(0, len(questions), size)]


def _summary(problems: dict[str, str]) -> str:
    if len(problems) > 1 and all(each.startswith("no answer in") for each in problems.values()):
        return f"no answer in {UDP_SECONDS + TCP_SECONDS:g} s"
    if len(set(problems.values())) == 1:
        return next(iter(problems.values()))
    each_protocol = [f"{protocol}: {problem}" for protocol, problem in problems.items()]
    return "; ".join(each_protocol) or "not queried"
