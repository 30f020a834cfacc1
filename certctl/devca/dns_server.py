"""A small DNS server on loopback that serves the built-in zone and accepts updates (RFC 2136).

It is authoritative for all names: TXT records come from the zone, every name has the address
127.0.0.1, and each name with two labels is a zone apex. Updates need no signature, since the server
cannot be reached from other machines.
"""

from __future__ import annotations

import contextlib
import socketserver
import struct
import threading
from types import TracebackType
from typing import Self

from certctl.devca.zone import MockZone

_SECONDS = 5.0


class DnsServer:
    """A context manager that serves a zone on a port of 127.0.0.1, over UDP and TCP."""

    def __init__(self, zone: MockZone, port: int = 0) -> None:
        self._zone = zone
        self._port = port
        self._servers: list[socketserver.BaseServer] = []
        self._threads: list[threading.Thread] = []

    @property
    def address(self) -> str:
        """The server's address, `ADDRESS:PORT`."""
        return f"127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        """The port, the same for UDP and TCP."""
        return self._port

    def __enter__(self) -> Self:
        try:
            tcp = self._tcp_and_udp()
        except OSError:
            self.close()
            raise
        self._port = tcp
        for each in self._servers:
            thread = threading.Thread(target=each.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop; safe to call twice."""
        threads, self._threads = self._threads, []
        servers, self._servers = self._servers, []
        for each in servers:
            if threads:
                each.shutdown()
            each.server_close()
        for thread in threads:
            thread.join()

    def _tcp_and_udp(self) -> int:
        """Bind one port for TCP and UDP; retry with another one if it is taken for UDP."""
        for attempt in range(20):
            tcp = _TcpServer(("127.0.0.1", self._port), _TcpQuestion)
            try:
                udp = _UdpServer(("127.0.0.1", tcp.server_address[1]), _UdpQuestion)
            except OSError:
                tcp.server_close()
                if self._port or attempt == 19:
                    raise
                continue
            tcp.zone = udp.zone = self._zone
            self._servers = [tcp, udp]
            return int(tcp.server_address[1])
        raise OSError("no port is free")


class _TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    zone: MockZone


class _UdpServer(socketserver.UDPServer):
    zone: MockZone


class _UdpQuestion(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, connection = self.request
        answer = _answer(data, self.server.zone)  # type: ignore[attr-defined] # ours above
        if answer is not None:
            connection.sendto(answer, self.client_address)


class _TcpQuestion(socketserver.StreamRequestHandler):
    timeout = _SECONDS

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # a client that disconnects or sends nothing
            while len(head := self.rfile.read(2)) == 2:
                data = self.rfile.read(struct.unpack("!H", head)[0])
                answer = _answer(data, self.server.zone)  # type: ignore[attr-defined] # ours above
                if answer is None:
                    return
                self.wfile.write(struct.pack("!H", len(answer)) + answer)
                self.wfile.flush()


def _answer(data: bytes, zone: MockZone) -> bytes | None:
    """Return the response to a query or an update; None for anything else."""
    from certctl.devca import dns_messages  # noqa: PLC0415 - dnspython is slow to import

    return dns_messages.answer(data, zone)
