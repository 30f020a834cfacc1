"""Many questions to one DNS server at a time, on one line to it.

A few go out together as datagrams, and by TCP where the answer was cut short or none came. Many go
back to back over one TCP connection, which is kept (RFC 7766 §6.2): there nothing is lost, and no
server counts them against a limit on datagrams. What the answers mean is for others to say.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import dns.exception
import dns.flags
import dns.message
import dns.name

from certctl.dns.queries import NoReply, Server

UDP_SECONDS = 1.5
TCP_SECONDS = 1.5
MAX_DATAGRAMS = 16
"""Questions that are sent as datagrams, without waiting for an answer in between."""

_REPEAT_SECONDS = 0.5
_AT_A_TIME = 32
_SLICE_SECONDS = 0.2
_LARGEST_DATAGRAM = 65_535
_PREFIX_BYTES = 2

Answer = dns.message.Message | NoReply


class ServerConnection:
    """The way to one server, for one thread at a time; `recurse` is the RD bit.

    `stopped` is asked often, and ends an exchange when it says so.
    """

    def __init__(self, server: Server, *, recurse: bool, stopped: Callable[[], bool]) -> None:
        self.server = server
        self._recurse = recurse
        self._stopped = stopped
        self._family = socket.AF_INET6 if server.family == 6 else socket.AF_INET
        self._tcp: socket.socket | None = None
        self._at_a_time = _AT_A_TIME

    def ask(self, names: Sequence[str], kind: str) -> dict[str, Answer]:
        """Return the answer for each name, whatever its response code, or why there is none.

        Takes no longer than `UDP_SECONDS` and `TCP_SECONDS` from one answer to the next.
        """
        exchange = _Exchange()
        for name in dict.fromkeys(names):
            exchange.add(name, kind, recurse=self._recurse)
        ways = [("UDP", UDP_SECONDS, self._by_udp), ("TCP", TCP_SECONDS, self._by_tcp)]
        if len(exchange.waiting) > MAX_DATAGRAMS:
            ways.reverse()
        problems: dict[str, str] = {}
        for protocol, seconds, way in ways:
            if not exchange.waiting or self._stopped():
                break
            try:
                way(exchange)
            except TimeoutError:
                problems[protocol] = f"no answer in {seconds:g} s"
            except OSError as error:
                problems[protocol] = error.strerror or str(error)
        problem = _joined(problems)
        return {
            **exchange.answers,
            **{question.name: NoReply(problem) for question in exchange.waiting.values()},
        }

    def close(self) -> None:
        """Hang up; the next question would dial again."""
        tcp, self._tcp = self._tcp, None
        if tcp is not None:
            tcp.close()

    def _by_udp(self, exchange: _Exchange) -> None:
        """Raises `TimeoutError` where an answer is missing, but not for one that is cut short."""
        with socket.socket(self._family, socket.SOCK_DGRAM) as sock:
            # Connected, so that a port where nobody listens is known at once.
            sock.connect((self.server.address, self.server.port))
            asked = list(exchange.waiting.values())
            for some in _chunks(asked, MAX_DATAGRAMS):
                self._datagrams(sock, some, exchange)

    def _datagrams(
        self, sock: socket.socket, questions: Sequence[_Question], exchange: _Exchange
    ) -> None:
        begun = time.monotonic()
        repeats = 0
        while missing := [each for each in questions if exchange.misses(each)]:
            spent = time.monotonic() - begun
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
        """Raises OSError where an answer is missing."""
        exchange.cut_short.clear()
        while exchange.waiting:
            kept = self._tcp is not None
            before = len(exchange.waiting)
            some = list(exchange.waiting.values())[: self._at_a_time]
            try:
                self._stream(some, exchange)
            except TimeoutError:
                self.close()
                raise
            except OSError:
                self.close()
                if not kept and len(exchange.waiting) == before and self._at_a_time == 1:
                    raise
                # A kept connection may have ended meanwhile, and some servers answer one question
                # a connection: each further attempt has an answer, or is the last one.
                if not kept:
                    self._at_a_time = 1

    def _stream(self, questions: Sequence[_Question], exchange: _Exchange) -> None:
        if self._tcp is None:
            self._tcp = socket.socket(self._family, socket.SOCK_STREAM)
            self._tcp.settimeout(TCP_SECONDS)
            self._tcp.connect((self.server.address, self.server.port))
        self._tcp.settimeout(TCP_SECONDS)
        self._tcp.sendall(
            b"".join(len(each.wire).to_bytes(_PREFIX_BYTES) + each.wire for each in questions)
        )
        while any(exchange.misses(each) for each in questions):
            size = int.from_bytes(self._read(self._tcp, _PREFIX_BYTES))
            exchange.take(self._read(self._tcp, size), whole=True)

    def _read(self, sock: socket.socket, count: int) -> bytes:
        received = b""
        begun = time.monotonic()
        while len(received) < count:
            sock.settimeout(_SLICE_SECONDS)
            try:
                more = sock.recv(count - len(received))
            except TimeoutError:
                if time.monotonic() - begun >= TCP_SECONDS or self._stopped():
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
    """Questions by their identifiers, and the answers by name."""

    waiting: dict[int, _Question] = field(default_factory=dict)
    answers: dict[str, dns.message.Message] = field(default_factory=dict)
    cut_short: set[int] = field(default_factory=set)

    def add(self, name: str, kind: str, *, recurse: bool) -> None:
        # Without EDNS, over which old servers and firewalls stumble: TCP takes what does not fit.
        message = dns.message.make_query(dns.name.from_text(name), kind)
        while message.id in self.waiting:
            message.id = (message.id + 1) % 65_536
        if not recurse:
            message.flags &= ~dns.flags.RD
        self.waiting[message.id] = _Question(name, message, message.to_wire())

    def misses(self, question: _Question) -> bool:
        """Whether nothing has come for a question, not even half an answer."""
        number = question.message.id
        return number in self.waiting and number not in self.cut_short

    def take(self, wire: bytes, *, whole: bool = False) -> None:
        """Note an answer; what answers none of the questions is passed over. Where `whole`, it is
        not asked for again even if its sender says that it is cut short.
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
            self.cut_short.add(message.id)
            return
        self.answers[question.name] = message
        del self.waiting[message.id]


class QueryQueue:
    """Asks one server for TXT records; names that come while it is asking go together in the next
    exchange. Its methods may be called from any thread.

    `start` runs what it is given in another thread. `report` gets the answers, in that thread;
    `failed` gets what should not have happened.
    """

    def __init__(
        self,
        line: ServerConnection,
        start: Callable[[Callable[[], None]], object],
        report: Callable[[Server, dict[str, Answer]], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._line = line
        self._start = start
        self._report = report
        self._failed = failed
        self._guard = threading.Lock()
        self._names: dict[str, None] = {}
        self._over = threading.Event()
        self._busy = False
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether an exchange is under way."""
        return self._busy

    def ask(self, names: Sequence[str]) -> threading.Event:
        """Ask for these names; the event that is returned is set once the answers are reported."""
        with self._guard:
            self._names |= dict.fromkeys(names)
            over = self._over
            if not self._busy:
                self._busy = True
                self._start(self._work)
            return over

    def close(self) -> None:
        """Hang up once the exchange that is under way is over."""
        with self._guard:
            self._closed = True
            if not self._busy:
                self._line.close()

    def _work(self) -> None:
        while True:
            with self._guard:
                names, over = self._names, self._over
                if not names:
                    self._busy = False
                    if self._closed:
                        self._line.close()
                    return
                self._names, self._over = {}, threading.Event()
            try:
                self._report(self._line.server, self._line.ask(list(names), "TXT"))
            except Exception as error:  # noqa: BLE001 - who waits must hear of it, whatever it is
                self._failed(error)
            finally:
                over.set()


def _chunks(questions: Sequence[_Question], size: int) -> list[Sequence[_Question]]:
    return [questions[start : start + size] for start in range(0, len(questions), size)]


def _joined(problems: dict[str, str]) -> str:
    if len(problems) > 1 and all(each.startswith("no answer in") for each in problems.values()):
        return f"no answer in {UDP_SECONDS + TCP_SECONDS:g} s"
    if len(set(problems.values())) == 1:
        return next(iter(problems.values()))
    told = [f"{protocol}: {problem}" for protocol, problem in problems.items()]
    return "; ".join(told) or "not asked"
