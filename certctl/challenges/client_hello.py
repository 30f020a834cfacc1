"""Reads the application protocols that a TLS client offers from its first message (RFC 8446 §4.1.2,
RFC 7301 §3.1), before any TLS library answers it.
"""

from __future__ import annotations

_HANDSHAKE_RECORD = 22
_CLIENT_HELLO = 1
_ALPN = 16
_MAX_BYTES = 16384
_MAX_RECORDS = 64


class IncompleteHello(Exception):
    """More bytes are needed."""


class InvalidHello(Exception):
    """This is not a ClientHello."""


def offered_protocols(received: bytes | bytearray) -> tuple[bytes, ...]:
    """Return the ALPN protocols that a client offers; none without the extension.

    `received` is what the client has sent so far. Raises `IncompleteHello` and `InvalidHello`.
    """
    message = _Reader(_handshake_message(bytes(received)))
    try:
        message.take(2 + 32)  # version and random
        message.vector(1)  # session id
        message.vector(2)  # cipher suites
        message.vector(1)  # compression methods
        extensions = _Reader(message.vector(2) if message.left else b"")
        while extensions.left:
            kind, body = extensions.number(2), extensions.vector(2)
            if kind == _ALPN:
                return _protocols(body)
    except IndexError:
        raise InvalidHello from None
    return ()


def _protocols(body: bytes) -> tuple[bytes, ...]:
    names = _Reader(_Reader(body).vector(2))
    found: list[bytes] = []
    while names.left:
        found.append(names.vector(1))
    return tuple(found)


def _handshake_message(received: bytes) -> bytes:
    """Return the body of the first handshake message, which may be split into several records."""
    message, records = bytearray(), _Reader(received)
    for _ in range(_MAX_RECORDS):
        if len(message) >= 4:
            if message[0] != _CLIENT_HELLO:
                raise InvalidHello
            size = int.from_bytes(message[1:4], "big")
            if size > _MAX_BYTES:
                raise InvalidHello
            if len(message) >= 4 + size:
                return bytes(message[4 : 4 + size])
        if records.left and records.next_byte != _HANDSHAKE_RECORD:
            raise InvalidHello
        try:
            records.take(3)  # record type and version
            fragment = records.vector(2)
        except IndexError:
            raise IncompleteHello from None
        if not fragment:
            raise InvalidHello  # RFC 8446 §5.1: no empty fragments, of which there could be no end
        message += fragment
    raise InvalidHello


class _Reader:
    """Reads numbers and vectors from bytes. Raises IndexError at the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    @property
    def next_byte(self) -> int:
        return self._data[self._at]

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise IndexError
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """Return bytes that are preceded by their length, a number of `size` bytes."""
        return self.take(self.number(size))
