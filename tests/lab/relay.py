"""Gives a DNS server a second loopback address, without touching the machine's interfaces.

BIND listens only on addresses that an interface carries, and loopback carries 127.0.0.1 alone,
although Linux lets any program bind the rest of 127.0.0.0/8. Messages pass through unread.
"""

import contextlib
import socket
import socketserver
import threading
from typing import Self

TIMEOUT_SECONDS = 5.0
LARGEST_DATAGRAM = 65_535


class DnsRelay:
    """Passes DNS messages, over UDP and TCP, from `host:port` to a server on 127.0.0.1."""

    def __init__(self, host: str, port: int, target_port: int) -> None:
        target = ("127.0.0.1", target_port)
        self._servers = (_UdpRelay((host, port), target), _TcpRelay((host, port), target))
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.05,), name=f"relay {host}:{port}")
            for server in self._servers
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()


class _UdpExchange(socketserver.BaseRequestHandler):
    server: "_UdpRelay"

    def handle(self) -> None:
        message, client = self.request
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
            upstream.settimeout(TIMEOUT_SECONDS)
            upstream.connect(self.server.target)
            # No answer, or nobody there: the client waits in vain, as it would without a relay.
            with contextlib.suppress(OSError):
                upstream.send(message)
                client.sendto(upstream.recv(LARGEST_DATAGRAM), self.client_address)


class _TcpExchange(socketserver.BaseRequestHandler):
    server: "_TcpRelay"

    def handle(self) -> None:
        self.request.settimeout(TIMEOUT_SECONDS)
        with (
            contextlib.suppress(OSError),
            socket.create_connection(self.server.target, TIMEOUT_SECONDS) as upstream,
        ):
            while message := _read_message(self.request):
                upstream.sendall(message)
                self.request.sendall(_read_message(upstream))


class _UdpRelay(socketserver.ThreadingUDPServer):
    max_packet_size = LARGEST_DATAGRAM

    def __init__(self, address: tuple[str, int], target: tuple[str, int]) -> None:
        self.target = target
        super().__init__(address, _UdpExchange)


class _TcpRelay(socketserver.ThreadingTCPServer):
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], target: tuple[str, int]) -> None:
        self.target = target
        super().__init__(address, _TcpExchange)


def _read_message(stream: socket.socket) -> bytes:
    """Return one length-prefixed message (RFC 1035 §4.2.2), prefix included; b"" at the end."""
    prefix = _read_exactly(stream, 2)
    return prefix + _read_exactly(stream, int.from_bytes(prefix)) if prefix else b""


def _read_exactly(stream: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        chunk = stream.recv(count - len(received))
        if not chunk:
            return b""
        received += chunk
    return received
