"""What the servers of HTTP-01 and TLS-ALPN-01 share: one thread, many connections, all bounded.

A client that stalls costs one socket until its time is up, and delays nobody; where there are too
many of them, the oldest make room. What is said on a connection is for a subclass to know.
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
"""Fewer than the 1024 descriptors that a process usually may have, with some to spare."""

Connections = dict["Connection", None]
"""The connections that are open, the oldest first."""


class ChallengeServer:
    """Serves at sockets that listen already, in a thread of its own, until `close`.

    `connection` makes the protocol of a new connection, which it puts among those that it is given.
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
        """Close the sockets and every connection; return when the thread has ended."""
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def _run(self) -> None:
        # The connections that came before the loop runs wait in the kernel's queue.
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
        # One turn of the loop lets the dropped transports close their sockets.
        await asyncio.sleep(0)


class Connection(asyncio.Protocol):
    """One client, from its connection to its one answer, or to the end of its time."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._limit_time(CONNECTION_SECONDS)
        self._connections[self] = None
        if len(self._connections) > MAX_CONNECTIONS:
            # Whoever came first has had the most time; the CA asks at once.
            next(iter(self._connections)).drop()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - gone is gone
        self._connections.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()

    def drop(self) -> None:
        """Close the connection now."""
        self._connections.pop(self, None)
        self._transport.abort()

    def end(self, last: bytes) -> None:
        """Send what is left to send; the client then has a while to read it and to go."""
        self._transport.write(last)
        # Closing while the client still sends would reset the connection, and the client might
        # never see the answer (RFC 9112 §9.6): so end our side only, and wait for its end.
        self._transport.write_eof()
        self._limit_time(LINGER_SECONDS)

    def _limit_time(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(seconds, self.drop)
