"""Waits until the authoritative servers have the TXT records. They are queried directly, since a
resolver's cache could be outdated.

A CA may query any of them, and many CAs query several (multi-perspective validation), so one server
that lags behind is enough for a validation to fail. All orders of a run share the wait: each server
is queried for the records of all orders in one exchange, and each order continues as soon as its
own records are published.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field

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
from certctl.model.errors import Interrupted, PropagationTimeout
from certctl.model.lazy_dataclass import dataclass
from certctl.model.ports import Clock
from certctl.model.validation import TxtRecord

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0
QUERIES_PER_SECOND = 200
"""The limit for queries to one server, for all orders together."""
MAX_CACHE_SECONDS = 60.0
"""After so many seconds a resolver is queried again in any case: its address may be anycast."""

_PARALLEL_EXCHANGES = 32


@dataclass(frozen=True)
class WaitPolicy:
    """How many seconds an order waits, how many servers of a zone must have the records, and which
    public resolvers are checked afterwards.
    """

    timeout: float
    quorum: Quorum
    public_resolvers: tuple[Server, ...] = ()


@dataclass(eq=False)
class _Order:
    """An order that is waiting, no longer than `until`. `authoritative` and `public` are the states
    of the servers; `public` is None until the authoritative servers have all records. `finished` is
    set when the order may continue, or has failed (`error`).
    """

    started: float
    until: float
    wanted: Mapping[str, frozenset[str]]
    authoritative: list[ServerState]
    public: list[ServerState] | None = None
    pending: Sequence[threading.Event] = ()
    finished: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None


class Propagation:
    """The wait that all orders of a run share. Thread-safe.

    Worker threads query the servers as soon as an order is added. While orders are waiting, another
    thread repeats the queries after pauses that grow with the age of the newest order.
    """

    def __init__(
        self, zones: Zones, policy: WaitPolicy, *, clock: Clock, stop: threading.Event
    ) -> None:
        self._zones = zones
        self._policy = policy
        self._clock = clock
        self._stop = stop
        self._guard = threading.RLock()
        self._orders: list[_Order] = []
        self._queues: dict[tuple[Server, bool], QueryQueue] = {}
        self._replied: dict[Server, bool] = {}
        self._not_before: dict[tuple[Server, str], float] = {}
        self._polling = False
        self._closed = False
        self._pool = ThreadPoolExecutor(_PARALLEL_EXCHANGES, thread_name_prefix="propagation")

    def wait(self, records: Sequence[TxtRecord], deadline: float | None = None) -> None:
        """Return once a quorum of the authoritative servers of each zone has all values, and then
        all public resolvers have them.

        Waits no longer than the policy's timeout, and never beyond the `deadline`, a time of the
        clock's `monotonic`. Raises `PropagationTimeout`, naming each server and the values that it
        does not have, `ChallengeError` if the servers cannot be found, and `Interrupted`.
        """
        if not records:
            return
        started = self._clock.monotonic()
        wanted = _by_zone(records)
        states = [
            ServerState(zone, name_server, values)
            for zone, values in wanted.items()
            for name_server in self._zones.name_servers(zone, deadline)
        ]
        everything = {name: values for some in wanted.values() for name, values in some.items()}
        until = started + self._policy.timeout
        until = until if deadline is None else min(until, deadline)
        order = _Order(started, until, everything, states)
        with self._guard:
            self._orders.append(order)
            self._query(order)
            if not self._polling:
                self._polling = True
                threading.Thread(target=self._poll, name="propagation", daemon=True).start()
        order.finished.wait()
        if order.error is not None:
            raise order.error

    def close(self) -> None:
        """Stop all queries; safe to call twice."""
        with self._guard:
            self._closed = True
            for queue in self._queues.values():
                queue.close()
            self._queues.clear()
        self._pool.shutdown(cancel_futures=True)

    def _poll(self) -> None:
        """Query the servers repeatedly until no order is waiting."""
        try:
            while True:
                while pending := self._pending():
                    for event in pending:
                        event.wait()
                pause = self._next_pause()
                if pause is None:
                    return
                if self._clock.wait(self._stop, pause):
                    raise _interrupted()
                with self._guard:
                    for each in self._orders:
                        self._query(each)
        except BaseException as error:  # noqa: BLE001 - raised in the threads of the orders
            self._fail_all(error)

    def _pending(self) -> list[threading.Event]:
        """Return the events of the queries that are not answered yet."""
        with self._guard:
            return [event for each in self._orders for event in each.pending if not event.is_set()]

    def _next_pause(self) -> float | None:
        """End the orders that have waited too long; return how many seconds to pause, or None if no
        order is left.
        """
        with self._guard:
            now = self._clock.monotonic()
            for each in list(self._orders):
                if now >= each.until:
                    self._finish(each, self._timeout_error(each, now))
            if not self._orders:
                self._polling = False
                return None
            age = now - max(each.started for each in self._orders)
            names = len({name for each in self._orders for name in each.wanted})
            pause = max(min(age + FIRST_PAUSE, LONGEST_PAUSE), names / QUERIES_PER_SECOND)
            return min(pause, min(each.until for each in self._orders) - now)

    def _query(self, order: _Order) -> None:
        """Query the servers for the values that they do not have yet.

        Does not wait for a server that has never replied; only one query to it is under way.
        """
        now = self._clock.monotonic()
        pending: list[threading.Event] = []
        for state in self._blocking(order):
            server = state.name_server.server
            names = [
                name for name in state.missing if self._not_before.get((server, name), now) <= now
            ]
            silent = order.public is None and self._replied.get(server) is False
            queue = self._queue(server, recurse=order.public is not None)
            if not names or (silent and queue.busy):
                continue
            event = queue.query(names)
            if not silent:
                pending.append(event)
        order.pending = pending

    def _blocking(self, order: _Order) -> list[ServerState]:
        """Return the states of the servers that an order has to wait for."""
        if order.public is None:
            return blocking(order.authoritative, self._replied, self._policy.quorum)
        return [each for each in order.public if each.missing]

    def _queue(self, server: Server, *, recurse: bool) -> QueryQueue:
        key = server, recurse
        if key not in self._queues:
            connection = ServerConnection(server, recurse=recurse, stopped=self._stopped)
            report = self._resolver_answered if recurse else self._server_answered
            self._queues[key] = QueryQueue(connection, self._pool.submit, report, self._fail_all)
        return self._queues[key]

    def _stopped(self) -> bool:
        return self._closed or self._stop.is_set()

    def _server_answered(self, server: Server, answers: Mapping[str, Answer]) -> None:
        """Record the answers of an authoritative server, and continue the orders that have all
        their records.
        """
        with self._guard:
            replied = any(not isinstance(answer, NoReply) for answer in answers.values())
            self._replied[server] = self._replied.get(server, False) or replied
            for each in list(self._orders):
                if each.public is None:
                    each.authoritative = _after(each.authoritative, server, answers)
                    if not self._blocking(each):
                        self._check_resolvers(each)

    def _check_resolvers(self, order: _Order) -> None:
        """Query the public resolvers for an order whose records the authoritative servers have."""
        resolvers = self._policy.public_resolvers
        if not resolvers:
            self._finish(order)
            return
        order.public = [
            ServerState("", NameServer("resolver", server), order.wanted) for server in resolvers
        ]
        self._query(order)

    def _resolver_answered(self, server: Server, answers: Mapping[str, Answer]) -> None:
        """Record the answers of a resolver, which is not queried again while it caches them."""
        with self._guard:
            now = self._clock.monotonic()
            for each in list(self._orders):
                if each.public is None:
                    continue
                each.public = _after(each.public, server, answers)
                if not self._blocking(each):
                    self._finish(each)
            for name, answer in answers.items():
                if isinstance(answer, dns.message.Message):
                    self._not_before[server, name] = now + min(
                        cache_seconds(answer), MAX_CACHE_SECONDS
                    )

    def _timeout_error(self, order: _Order, now: float) -> PropagationTimeout:
        seconds, states = now - order.started, self._blocking(order)
        if order.public is None:
            return authoritative_timeout(states, seconds, self._policy.quorum, order.authoritative)
        cached: dict[str, float] = {}
        for state in states:
            server = state.name_server.server
            until = max(self._not_before.get((server, name), now) for name in state.missing)
            cached[str(server)] = until - now
        return resolver_timeout(states, seconds, cached)

    def _finish(self, order: _Order, error: BaseException | None = None) -> None:
        """Let one order continue; close the connections if no order is waiting any more."""
        self._orders.remove(order)
        order.error = error
        order.finished.set()
        if not self._orders:
            for queue in self._queues.values():
                queue.close()
            self._queues.clear()

    def _fail_all(self, error: BaseException) -> None:
        with self._guard:
            self._polling = False
            for each in list(self._orders):
                # Each thread that raises the exception needs its own instance.
                stopped = isinstance(error, Interrupted)
                self._finish(each, _interrupted() if stopped else error)


def _interrupted() -> Interrupted:
    return Interrupted("stopped while waiting for DNS propagation")


def _by_zone(records: Iterable[TxtRecord]) -> dict[str, dict[str, frozenset[str]]]:
    wanted: dict[str, dict[str, frozenset[str]]] = {}
    for record in records:
        values = wanted.setdefault(record.zone, {})
        values[record.name] = values.get(record.name, frozenset()) | {record.value}
    return wanted


def _after(
    states: Sequence[ServerState], server: Server, answers: Mapping[str, Answer]
) -> list[ServerState]:
    return [
        state.after(answers) if state.name_server.server == server else state for state in states
    ]
