"""A small TLS-terminating proxy that runs as a separate program and selects certificates by SNI.

    python -m certctl.demo.proxy LIVE APPLICATION_PORT

It reads the certificates in the directory LIVE as nginx would, prints its port on standard output,
rereads them on SIGHUP without closing connections, and exits when its standard input is closed. For
the demo only: it supports no more of HTTP/1.1 than that needs.
"""

from __future__ import annotations

import asyncio
import signal
import ssl
import sys
from contextlib import closing, suppress
from pathlib import Path

_LONGEST_HEAD = 65536
_LONGEST_BODY = 1_000_000


class Certificates:
    """A TLS context for each certificate of a `live` directory, chosen by SNI (RFC 6066 §3)."""

    def __init__(self, live: Path) -> None:
        self._live = live
        self._contexts: dict[str, ssl.SSLContext] = {}
        self.reload()
        first = next(iter(self._contexts.values()))
        first.sni_callback = self._choose
        self.default_context = first

    def reload(self) -> None:
        """Read the certificates again; open connections are not affected."""
        found = {}
        for directory in sorted(self._live.iterdir()):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(directory / "fullchain.pem", directory / "privkey.pem")
            found[directory.name] = context
        self._contexts = found

    def _choose(
        self, connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext
    ) -> int | None:
        chosen = self._contexts.get(name or "")
        if chosen is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = chosen
        return None


async def serve(live: Path, application_port: int) -> None:
    """Serve until standard input ends."""
    certificates = Certificates(live)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, certificates.reload)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
            await _relay(reader, writer, application_port)

    server = await asyncio.start_server(
        connected, "127.0.0.1", 0, ssl=certificates.default_context, limit=_LONGEST_HEAD
    )
    async with server:
        sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        await loop.run_in_executor(None, sys.stdin.read)


async def _relay(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, application_port: int
) -> None:
    """Forward the requests of one connection to the application, one after the other."""
    backend_reader, backend_writer = await asyncio.open_connection("127.0.0.1", application_port)
    with closing(backend_writer):
        while True:
            head, body = await _message(reader)
            start, _, rest = head.partition(b"\r\n")
            backend_writer.write(start + b"\r\nX-Forwarded-Proto: https\r\n" + rest + body)
            await backend_writer.drain()
            head, body = await _message(backend_reader)
            writer.write(head + body)
            await writer.drain()


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = min(int(line.partition(b":")[2]), _LONGEST_BODY)
            return head, await reader.readexactly(length)
    return head, b""


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
