"""From plain words to TLS: what is said before the handshake, by protocol.

Nothing but the change to TLS is asked for, no name of this machine is given away, and all that a
server says is bounded, in bytes and in seconds.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

MAX_BYTES = 64 * 1024
"""What a server may say before it changes to TLS."""

_SHOWN = 80


class Refused(Exception):
    """The server does not change to TLS; the text says what it said instead."""


class Conversation:
    """The plain words on a connection, until `deadline` (by `time.monotonic`).

    Raises `Refused` where the other side says too much or hangs up, `TimeoutError` where it is too
    slow.
    """

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._received = 0

    def say(self, words: bytes) -> None:
        """Send `words` as they are."""
        self._bound()
        self._connection.sendall(words)

    def line(self) -> str:
        """Return the next line, without its end."""
        found = bytearray()
        while not found.endswith(b"\n"):
            # Octet by octet: the first octet of TLS must be left where it is.
            found += self.octets(1)
        return found.decode("ascii", errors="replace").rstrip("\r\n")

    def octets(self, count: int) -> bytes:
        """Return exactly `count` octets."""
        found = b""
        while len(found) < count:
            self._bound()
            some = self._connection.recv(count - len(found))
            if not some:
                raise Refused("the server closed the connection before TLS began")
            found += some
            self._received += len(some)
            if self._received > MAX_BYTES:
                raise Refused(f"the server said more than {MAX_BYTES // 1024} KiB before TLS began")
        return found

    def _bound(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)


def smtp(talk: Conversation) -> None:
    """RFC 3207. The name that EHLO wants is an address literal, which names nobody."""
    _smtp_reply(talk, "220")
    talk.say(b"EHLO [127.0.0.1]\r\n")
    offered = _smtp_reply(talk, "250")
    if not any(each.upper() == "STARTTLS" for each in offered):
        raise Refused("the server offers no STARTTLS")
    talk.say(b"STARTTLS\r\n")
    _smtp_reply(talk, "220")


def imap(talk: Conversation) -> None:
    """RFC 9051 §6.2.1."""
    greeting = talk.line()
    if not greeting.startswith("* OK"):
        raise _unexpected(greeting)
    talk.say(b"a1 STARTTLS\r\n")
    while (answer := talk.line()).startswith("* "):
        pass
    if not answer.upper().startswith("A1 OK"):
        raise _unexpected(answer)


def pop3(talk: Conversation) -> None:
    """RFC 2595 §4."""
    for command in (None, b"STLS\r\n"):
        if command is not None:
            talk.say(command)
        answer = talk.line()
        if not answer.startswith("+OK"):
            raise _unexpected(answer)


_LDAP_OID = b"1.3.6.1.4.1.1466.20037"
_LDAP_REQUEST = (
    b"\x30\x1d\x02\x01\x01"  # LDAPMessage, messageID 1
    b"\x77\x18\x80\x16" + _LDAP_OID  # ExtendedRequest, requestName
)
_LDAP_SUCCESS = b"\x0a\x01\x00"  # resultCode success (0), an ENUMERATED


def ldap(talk: Conversation) -> None:
    """RFC 4511 §4.14: one extended request, and its response in BER."""
    talk.say(_LDAP_REQUEST)
    body = _ber_sequence(talk)
    # messageID 1, then [APPLICATION 24] ExtendedResponse, whose first element is the result.
    if not body.startswith(b"\x02\x01\x01\x78"):
        raise Refused("the server does not speak LDAP")
    response = body[4:]
    start = 1 if response[0] < 0x80 else 1 + (response[0] & 0x7F)
    result = response[start : start + 3]
    if result != _LDAP_SUCCESS:
        number = result[2] if len(result) == 3 else "none"
        raise Refused(f"the server refuses StartTLS: result code {number}")


PROTOCOLS: Mapping[str, Callable[[Conversation], None]] = MappingProxyType(
    {"smtp": smtp, "imap": imap, "pop3": pop3, "ldap": ldap}
)
"""What is said for each protocol that `certctl.service_address` knows."""


def _smtp_reply(talk: Conversation, wanted: str) -> list[str]:
    """Return the text of each line of a reply (RFC 5321 §4.2.1), whose code must be `wanted`."""
    texts: list[str] = []
    while True:
        line = talk.line()
        if line[:3] != wanted or line[3:4] not in {"", " ", "-"}:
            raise _unexpected(line)
        texts.append(line[4:].strip())
        if line[3:4] != "-":
            return texts


def _ber_sequence(talk: Conversation) -> bytes:
    """Return the content of one BER SEQUENCE with a definite length."""
    tag, length = talk.octets(2)
    if tag != 0x30:
        raise Refused("the server does not speak LDAP")
    if length > 0x80:
        length = int.from_bytes(talk.octets(length & 0x7F), "big")
    if length > MAX_BYTES or length < 5:
        raise Refused("the server does not speak LDAP")
    return talk.octets(length)


def _unexpected(line: str) -> Refused:
    printable = "".join(
        each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in line
    )
    shown = printable if len(printable) <= _SHOWN else f"{printable[:_SHOWN]}..."
    return Refused(f"the server said {shown!r}" if shown else "the server said an empty line")
