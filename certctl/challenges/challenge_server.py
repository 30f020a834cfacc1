"""The common part of the HTTP-01 and TLS-ALPN-01 servers: one thread, many connections, with
limits on their number and duration.

A stalled client occupies one socket until its time limit and delays no other client. If there are
too many connections, for this server or for the process's limit of file descriptors, the oldest one
is dropped. Nothing that a client does is printed: anybody can connect, as often as they like.
Subclasses implement the protocols.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from certctl.system.descriptors import raise_descriptor_limit

CONNECTION_SECONDS = 10.0
LINGER_SECONDS = 2.0
MAX_CONNECTIONS = 768
"""Well below 1024, the usual limit of open file descriptors per process."""

_ACCEPTS_PER_TURN = 16
_PAUSE_SECONDS = 0.05
"""How long to accept no connection if the process or the machine cannot open another one."""


class Connections(dict["Connection", None]):
    """The open connections of a server, oldest first; `descriptors` is the process's limit of file
    descriptors.
    """

    def __init__(self, descriptors: int) -> None:
        super().__init__()
        self.descriptors = descriptors

    def drop_oldest(self) -> None:
        """Close the oldest connection now. It has had the most time; a CA sends its request at
        once.
        """
        for oldest in self:
            oldest.drop()
            return


def too_many(connections: int, descriptor: int, limit: int) -> bool:
    """Return whether a server has too many connections: more than `MAX_CONNECTIONS`, or so many
    that the latest one got a `descriptor` in the last eighth of the process's `limit`, which the
    rest of certctl needs for files and for its requests to the CA.

    The kernel assigns the lowest free descriptor, so this also counts what others opened.
    """
    reserved = limit // 8
    return connections > MAX_CONNECTIONS or (connections > 1 and descriptor >= limit - reserved)


class ChallengeServer:
    """Serves connections to listening sockets in its own thread, until `close`.

    `connection` creates the protocol object of a new connection, which adds itself to the
    `Connections` that it is passed.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        connection: Callable[[Connections], Connection],
        name: str,
    ) -> None:
        self._listeners = listeners
        self._connection = connection
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._starting: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the sockets and all connections; return when the thread has ended."""
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def _run(self) -> None:
        # Connections that arrive before the loop runs wait in the kernel's backlog.
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop.set_exception_handler(_ignore)
        connections = Connections(raise_descriptor_limit())
        for listener in self._listeners:
            self._listen(listener, connections)
        await self._closing.wait()
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            listener.close()
        starting = tuple(self._starting)
        for task in starting:
            task.cancel()
        await asyncio.gather(*starting, return_exceptions=True)
        for connection in tuple(connections):
            connection.drop()
        # One iteration of the loop lets the dropped transports close their sockets.
        await asyncio.sleep(0)

    # Not `create_server`: it accepts up to a whole backlog per turn, and if no descriptor is left,
    # it logs each attempt with a traceback and schedules as many new ones, which then multiply.
    def _listen(self, listener: socket.socket, connections: Connections) -> None:
        if listener.fileno() >= 0:
            self._loop.add_reader(listener, self._accept, listener, connections)

    def _accept(self, listener: socket.socket, connections: Connections) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                accepted, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no descriptor or no memory left (EMFILE, ENFILE, ENOBUFS, ENOMEM)
                connections.drop_oldest()
                self._loop.remove_reader(listener)
                self._loop.call_later(_PAUSE_SECONDS, self._listen, listener, connections)
                return
            accepted.setblocking(False)
            task = self._loop.create_task(self._start(accepted, connections))
            self._starting.add(task)
            task.add_done_callback(partial(self._started, accepted))

    def _started(self, accepted: socket.socket, task: asyncio.Task[None]) -> None:
        self._starting.discard(task)
        if task.cancelled():  # perhaps before its first step, which would have closed the socket
            accepted.close()

    async def _start(self, accepted: socket.socket, connections: Connections) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._connection(connections), accepted
            )
        except BaseException as error:
            accepted.close()
            if not isinstance(error, OSError):  # the client may have gone already
                raise


def _ignore(_loop: asyncio.AbstractEventLoop, _context: object) -> None:
    """Ignore what asyncio would log: errors of single connections, which clients can provoke in any
    number.
    """


class Connection(asyncio.Protocol):
    """One client connection, until it has been answered or its time limit has passed."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._limit_time(CONNECTION_SECONDS)
        connections = self._connections
        connections[self] = None
        if too_many(len(connections), _descriptor(transport), connections.descriptors):
            connections.drop_oldest()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason does not matter
        self._connections.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()

    def drop(self) -> None:
        """Close the connection now."""
        self._connections.pop(self, None)
        self._transport.abort()

    def end(self, last: bytes) -> None:
        """Send `last` and end our side; the client has `LINGER_SECONDS` to read it and close."""
        self._transport.write(last)
        # Closing while the client is still sending would reset the connection, and the client might
        # never see the answer (RFC 9112 §9.6). So shut down only our side, and wait for the client.
        self._transport.write_eof()
        self._limit_time(LINGER_SECONDS)

    def _limit_time(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(seconds, self.drop)


def _descriptor(transport: asyncio.BaseTransport) -> int:
    found = transport.get_extra_info("socket")
    return -1 if found is None else int(found.fileno())
