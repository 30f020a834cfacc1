"""Whether the authoritative servers have the TXT records: asked directly, so that no cache lies.

A CA may ask any of them, and many ask several (multi-perspective validation), so that one server
which lags behind is enough to fail. All orders of a run wait here together: each server is asked in
one exchange for everything that anybody waits for, and each order goes on as soon as its own
records are seen.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import dns.message

from certctl.dns.propagation_state import (
    ServerState,
    authoritative_timeout,
    blocking,
    cache_seconds,
    resolver_timeout,
)
from certctl.dns.queries import NoReply, Server
from certctl.dns.quorum import Quorum
from certctl.dns.server_connections import Answer, QueryQueue, ServerConnection
from certctl.dns.zones import NameServer, Zones
from certctl.errors import Interrupted, PropagationTimeout
from certctl.models import TxtRecord
from certctl.ports import Clock

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0
QUERIES_PER_SECOND = 200
"""The most that one server is asked for, however many wait."""
MAX_CACHE_SECONDS = 60.0
"""After so many seconds a resolver is asked again in any case: it may be many machines."""

_PARALLEL_EXCHANGES = 32


@dataclass(frozen=True)
class WaitPolicy:
    """How long an order waits, in seconds, for how many servers of a zone, and for which resolvers
    after them.
    """

    timeout: float
    quorum: Quorum
    public_resolvers: tuple[Server, ...] = ()


@dataclass(eq=False)
class _Waiting:
    """One order that waits. `public` are looks at resolvers, begun once the authoritative servers
    have everything; `settled` is set once it may go on, or cannot (`error`).
    """

    began: float
    wanted: Mapping[str, frozenset[str]]
    looks: list[ServerState]
    public: list[ServerState] | None = None
    asking: Sequence[threading.Event] = ()
    settled: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None


class Propagation:
    """The wait that all orders of a run share; its methods may be called from any thread.

    Servers are asked in threads as soon as an order comes. A further thread, which is there while
    somebody waits, has them asked again after pauses that grow with the age of the youngest order.
    """

    def __init__(
        self, zones: Zones, patience: WaitPolicy, *, clock: Clock, stop: threading.Event
    ) -> None:
        self._zones = zones
        self._patience = patience
        self._clock = clock
        self._stop = stop
        self._guard = threading.RLock()
        self._waiting: list[_Waiting] = []
        self._askers: dict[tuple[Server, bool], QueryQueue] = {}
        self._replied: dict[Server, bool] = {}
        self._not_before: dict[tuple[Server, str], float] = {}
        self._watched = False
        self._closed = False
        self._pool = ThreadPoolExecutor(_PARALLEL_EXCHANGES, thread_name_prefix="propagation")

    def wait(self, records: Sequence[TxtRecord]) -> None:
        """Return once the authoritative servers of each zone, as many as the quorum says, answer
        with every value, and then the public resolvers.

        Raises `PropagationTimeout` saying which server lacks what, `ChallengeError` where the
        servers cannot be found, and `Interrupted`.
        """
        if not records:
            return
        began = self._clock.monotonic()
        wanted = _by_zone(records)
        looks = [
            ServerState(zone, name_server, values)
            for zone, values in wanted.items()
            for name_server in self._zones.name_servers(zone)
        ]
        everything = {name: values for some in wanted.values() for name, values in some.items()}
        waiting = _Waiting(began, everything, looks)
        with self._guard:
            self._waiting.append(waiting)
            self._look(waiting)
            if not self._watched:
                self._watched = True
                watch = threading.Thread(target=self._watch, name="propagation", daemon=True)
                watch.start()
        waiting.settled.wait()
        if waiting.error is not None:
            raise waiting.error

    def close(self) -> None:
        """Ask nobody any more; safe to call twice."""
        with self._guard:
            self._closed = True
            for asker in self._askers.values():
                asker.close()
            self._askers.clear()
        self._pool.shutdown(cancel_futures=True)

    def _watch(self) -> None:
        """Query the servers repeatedly until no order is waiting."""
        try:
            while True:
                while asking := self._asking():
                    for event in asking:
                        event.wait()
                pause = self._next_pause()
                if pause is None:
                    return
                if self._clock.wait(self._stop, pause):
                    raise _interrupted()
                with self._guard:
                    for each in self._waiting:
                        self._look(each)
        except BaseException as error:  # noqa: BLE001 - raised by those who wait
            self._give_up(error)

    def _asking(self) -> list[threading.Event]:
        """Return what will be set once the servers that are being asked have answered."""
        with self._guard:
            return [event for each in self._waiting for event in each.asking if not event.is_set()]

    def _next_pause(self) -> float | None:
        """Return how long to pause, having settled who has waited for too long; None where nobody
        is left.
        """
        with self._guard:
            now = self._clock.monotonic()
            for each in list(self._waiting):
                if now - each.began >= self._patience.timeout:
                    self._settle(each, self._too_late(each, now))
            if not self._waiting:
                self._watched = False
                return None
            age = now - max(each.began for each in self._waiting)
            questions = len({name for each in self._waiting for name in each.wanted})
            pause = max(min(age + FIRST_PAUSE, LONGEST_PAUSE), questions / QUERIES_PER_SECOND)
            left = self._patience.timeout - (now - min(each.began for each in self._waiting))
            return min(pause, left)

    def _look(self, waiting: _Waiting) -> None:
        """Have the servers asked for what they still lack.

        Nobody waits for a server that never replied, and it is asked by one thread at a time.
        """
        now = self._clock.monotonic()
        asking: list[threading.Event] = []
        for look in self._lacking(waiting):
            server = look.name_server.server
            names = [
                name for name in look.missing if self._not_before.get((server, name), now) <= now
            ]
            silent = waiting.public is None and self._replied.get(server) is False
            asker = self._asker(server, recurse=waiting.public is not None)
            if not names or (silent and asker.busy):
                continue
            event = asker.ask(names)
            if not silent:
                asking.append(event)
        waiting.asking = asking

    def _lacking(self, waiting: _Waiting) -> list[ServerState]:
        """Return the looks that stand in the way of an order."""
        if waiting.public is None:
            return blocking(waiting.looks, self._replied, self._patience.quorum)
        return [each for each in waiting.public if each.missing]

    def _asker(self, server: Server, *, recurse: bool) -> QueryQueue:
        key = server, recurse
        if key not in self._askers:
            line = ServerConnection(server, recurse=recurse, stopped=self._stopped)
            report = self._heard_publicly if recurse else self._heard
            self._askers[key] = QueryQueue(line, self._pool.submit, report, self._give_up)
        return self._askers[key]

    def _stopped(self) -> bool:
        return self._closed or self._stop.is_set()

    def _heard(self, server: Server, answers: Mapping[str, Answer]) -> None:
        """Note what an authoritative server said, and let go who has everything now."""
        with self._guard:
            replied = any(not isinstance(answer, NoReply) for answer in answers.values())
            self._replied[server] = self._replied.get(server, False) or replied
            for each in list(self._waiting):
                if each.public is None:
                    each.looks = _after(each.looks, server, answers)
                    if not self._lacking(each):
                        self._pass(each)

    def _pass(self, waiting: _Waiting) -> None:
        """Go on with an order whose records the authoritative servers have."""
        resolvers = self._patience.public_resolvers
        if not resolvers:
            self._settle(waiting)
            return
        waiting.public = [
            ServerState("", NameServer("resolver", server), waiting.wanted) for server in resolvers
        ]
        self._look(waiting)

    def _heard_publicly(self, server: Server, answers: Mapping[str, Answer]) -> None:
        """Note what a resolver said; it is not asked again while it would say the same."""
        with self._guard:
            now = self._clock.monotonic()
            for each in list(self._waiting):
                if each.public is None:
                    continue
                each.public = _after(each.public, server, answers)
                if not self._lacking(each):
                    self._settle(each)
            for name, answer in answers.items():
                if isinstance(answer, dns.message.Message):
                    self._not_before[server, name] = now + min(
                        cache_seconds(answer), MAX_CACHE_SECONDS
                    )

    def _too_late(self, waiting: _Waiting, now: float) -> PropagationTimeout:
        seconds, looks = now - waiting.began, self._lacking(waiting)
        if waiting.public is None:
            return authoritative_timeout(looks, seconds, self._patience.quorum)
        kept: dict[str, float] = {}
        for look in looks:
            server = look.name_server.server
            until = max(self._not_before.get((server, name), now) for name in look.missing)
            kept[str(server)] = until - now
        return resolver_timeout(looks, seconds, kept)

    def _settle(self, waiting: _Waiting, error: BaseException | None = None) -> None:
        """Let one order go; hang up where nobody waits for anybody any more."""
        self._waiting.remove(waiting)
        waiting.error = error
        waiting.settled.set()
        if not self._waiting:
            for asker in self._askers.values():
                asker.close()
            self._askers.clear()

    def _give_up(self, error: BaseException) -> None:
        with self._guard:
            self._watched = False
            for each in list(self._waiting):
                # An exception of its own for each thread that raises it.
                stopped = isinstance(error, Interrupted)
                self._settle(each, _interrupted() if stopped else error)


def _interrupted() -> Interrupted:
    return Interrupted("stopped while waiting for the DNS")


def _by_zone(records: Iterable[TxtRecord]) -> dict[str, dict[str, frozenset[str]]]:
    wanted: dict[str, dict[str, frozenset[str]]] = {}
    for record in records:
        values = wanted.setdefault(record.zone, {})
        values[record.name] = values.get(record.name, frozenset()) | {record.value}
    return wanted


def _after(
    looks: Sequence[ServerState], server: Server, answers: Mapping[str, Answer]
) -> list[ServerState]:
    return [look.after(answers) if look.name_server.server == server else look for look in looks]
