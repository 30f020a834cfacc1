"""A server as if it were far away: TCP connections to it, with a delay added each way.

What goes through is not looked into. It is noted when something was under way: a side had sent
something, and no answer had come back yet.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self


@dataclass
class Waited:
    """What was seen: connections, round trips on them, and the seconds in which at least one was
    under way.
    """

    connections: int = 0
    round_trips: int = 0
    seconds: float = 0.0


@dataclass
class Distance:
    """Listens on a port of 127.0.0.1 and passes connections on to another port there, `seconds`
    later each way.
    """

    target_port: int
    seconds: float
    port: int = 0
    _waited: Waited = field(default_factory=Waited, init=False)
    _under_way: int = field(default=0, init=False)
    _since: float = field(default=0.0, init=False)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(self._serve(started),), name="distance"
        )
        self._thread.start()
        started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def waited(self) -> Waited:
        """Return what was seen since the last call; call it while nothing is under way."""
        found, self._waited = self._waited, Waited()
        return found

    async def _serve(self, started: threading.Event) -> None:
        self._stop = asyncio.Event()
        transports: list[asyncio.Transport] = []
        server = await self._loop.create_server(
            lambda: _Near(self, transports), "127.0.0.1", self.port
        )
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stop.wait()
        server.close()
        for each in transports:
            each.abort()

    def _begin(self) -> None:
        if not self._under_way:
            self._since = time.monotonic()
        self._under_way += 1

    def _end(self) -> None:
        self._under_way -= 1
        self._waited.round_trips += 1
        if not self._under_way:
            self._waited.seconds += time.monotonic() - self._since


class _Near(asyncio.Protocol):
    """The side of the client; makes the connection to the server."""

    def __init__(self, distance: Distance, transports: list[asyncio.Transport]) -> None:
        self.distance = distance
        self.transports = transports
        self.asked = False
        self._far: _Far | None = None
        self._kept: list[Callable[[_Far], None]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.transports.append(transport)
        self.distance._waited.connections += 1
        # The handshake of TCP is a round trip, which this end has hidden from the client.
        self._ready_at = time.monotonic() + 2 * self.distance.seconds
        self._begin()
        connecting = self.distance._loop.create_connection(
            lambda: _Far(self), "127.0.0.1", self.distance.target_port
        )
        self._connecting = self.distance._loop.create_task(self._connected(connecting))

    async def _connected(self, connecting: object) -> None:
        try:
            _, far = await connecting  # type: ignore[misc]
        except OSError:
            self.transport.abort()
            return
        self._far = far
        for each in self._kept:
            each(far)
        self._kept.clear()

    def data_received(self, data: bytes) -> None:
        self._begin()
        at = max(time.monotonic(), self._ready_at) + self.distance.seconds
        self.distance._loop.call_at(at, self._pass, lambda far: far.transport.write(data))

    def connection_lost(self, _: Exception | None) -> None:
        self.answered()
        at = time.monotonic() + self.distance.seconds
        self.distance._loop.call_at(at, self._pass, lambda far: far.transport.close())

    def _pass(self, action: "Callable[[_Far], None]") -> None:
        if self._far is None:
            self._kept.append(action)
        else:
            action(self._far)

    def _begin(self) -> None:
        if not self.asked:
            self.asked = True
            self.distance._begin()

    def answered(self) -> None:
        """Something has arrived at the client."""
        if self.asked:
            self.asked = False
            self.distance._end()


class _Far(asyncio.Protocol):
    """The side of the server."""

    def __init__(self, near: _Near) -> None:
        self._near = near

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._near.transports.append(transport)

    def data_received(self, data: bytes) -> None:
        distance = self._near.distance
        distance._loop.call_at(time.monotonic() + distance.seconds, self._arrive, data)

    def _arrive(self, data: bytes) -> None:
        self._near.transport.write(data)
        self._near.answered()

    def connection_lost(self, _: Exception | None) -> None:
        distance = self._near.distance
        at = time.monotonic() + distance.seconds
        distance._loop.call_at(at, self._near.transport.close)
