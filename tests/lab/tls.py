"""A TLS server that shows the certificates that it is told to, by name, and changes them at once.

A thread in this process, on loopback. It may speak plain words first (STARTTLS), hang up or say
nothing at all; what it serves behind the handshake is nothing.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

SECONDS = 5.0
Preface = Callable[[socket.socket], None]


class TlsServer:
    """Listens at `hosts`, all at one port, until its context ends.

    `certificates` maps a name (SNI) to PEM files, a certificate chain and its key; `""` is for all
    other names. `preface` speaks before TLS begins. `oldest` is the oldest version of TLS that is
    spoken.
    """

    def __init__(
        self,
        certificates: Mapping[str, Sequence[tuple[Path, Path]]],
        *,
        port: int = 0,
        hosts: Sequence[str] = ("127.0.0.1",),
        preface: Preface | None = None,
        oldest: ssl.TLSVersion | None = None,
    ) -> None:
        self.port = port
        self._oldest = oldest
        self.asked: list[str | None] = []
        """The names that were asked for (SNI), in their order."""
        self._hosts = hosts
        self._preface = preface
        self._stack = ExitStack()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self.serve(certificates)

    def serve(self, certificates: Mapping[str, Sequence[tuple[Path, Path]]]) -> None:
        """Show these certificates from now on."""
        self._contexts = {name: self._context(files) for name, files in certificates.items()}

    def __enter__(self) -> Self:
        for host in self._hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.create_server((host, self.port), family=family)
            self.port = listener.getsockname()[1]
            thread = threading.Thread(target=self._accept, args=(listener,), daemon=True)
            thread.start()
            self._stack.callback(thread.join, SECONDS)
            self._stack.callback(listener.close)
            self._stack.callback(_wake, listener)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _accept(self, listener: socket.socket) -> None:
        with ExitStack() as connections:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connections.callback(connection.close)
                connection.settimeout(SECONDS)
                with suppress(OSError):
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        if self._preface is not None:
            self._preface(connection)
        context = self._contexts[""]
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.settimeout(SECONDS)
            secured.recv(1)

    def _context(self, files: Sequence[tuple[Path, Path]]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        for certificate, key in files:
            context.load_cert_chain(certificate, key)
        if self._oldest is not None:
            context.minimum_version = self._oldest
        context.sni_callback = self._choose
        return context

    def _choose(self, secured: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        self.asked.append(name)
        secured.context = self._contexts.get(name or "", self._contexts[""])


def _wake(listener: socket.socket) -> None:
    """End an `accept` that waits."""
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
