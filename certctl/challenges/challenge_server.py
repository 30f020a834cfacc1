"""The common part of the HTTP-01 and TLS-ALPN-01 servers: one thread, many connections, with
limits on their number and duration.

A stalled client occupies one socket until its time limit and delays no other client. If there are
too many connections, the oldest one is dropped. Subclasses implement the protocols.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from typing import cast

from certctl.challenges.listeners import BACKLOG

CONNECTION_SECONDS = 10.0
LINGER_SECONDS = 2.0
MAX_CONNECTIONS = 768
"""Well below 1024, the usual limit of open file descriptors per process."""

Connections = dict["Connection", None]
"""The open connections, oldest first."""


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
        connections: Connections = {}
        servers = [
            await self._loop.create_server(
                lambda: self._connection(connections), sock=listener, backlog=BACKLOG
            )
            for listener in self._listeners
        ]
        await self._closing.wait()
        for server in servers:
            server.close()
        for connection in tuple(connections):
            connection.drop()
        # One iteration of the loop lets the dropped transports close their sockets.
        await asyncio.sleep(0)


class Connection(asyncio.Protocol):
    """One client connection, until it has been answered or its time limit has passed."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._limit_time(CONNECTION_SECONDS)
        self._connections[self] = None
        if len(self._connections) > MAX_CONNECTIONS:
            # The oldest connection has had the most time; a CA sends its request at once.
            next(iter(self._connections)).drop()

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
