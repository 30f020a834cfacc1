"""STARTTLS: the plaintext exchange before the TLS handshake, for each supported protocol.

Only the upgrade to TLS is requested. This machine's name is not disclosed, and the server's
responses are limited in size and time.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

from certctl.model.text import printable

MAX_BYTES = 64 * 1024
"""The most that a server may send before the TLS handshake."""

_QUOTED_COLUMNS = 80


class StarttlsRefused(Exception):
    """The server did not upgrade to TLS; the message quotes its response."""


class PlaintextSession:
    """The plaintext phase of a connection, which must end before `deadline` (`time.monotonic`).

    Its methods raise `StarttlsRefused` if the server sends too much or closes the connection, and
    `TimeoutError` once the deadline has passed.
    """

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._received = 0

    def send(self, data: bytes) -> None:
        """Send `data` unchanged."""
        self._apply_deadline()
        self._connection.sendall(data)

    def read_line(self) -> str:
        """Return the next line, without its line ending."""
        found = bytearray()
        while not found.endswith(b"\n"):
            # One octet at a time, so that the first octet of TLS stays in the socket.
            found += self.read_exactly(1)
        return found.decode("ascii", errors="replace").rstrip("\r\n")

    def read_exactly(self, count: int) -> bytes:
        """Return exactly `count` octets."""
        found = b""
        while len(found) < count:
            self._apply_deadline()
            part = self._connection.recv(count - len(found))
            if not part:
                raise StarttlsRefused("the server closed the connection before the TLS handshake")
            found += part
            self._received += len(part)
            if self._received > MAX_BYTES:
                raise StarttlsRefused(
                    f"the server sent more than {MAX_BYTES // 1024} KiB before the TLS handshake"
                )
        return found

    def _apply_deadline(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)


def smtp(session: PlaintextSession) -> None:
    """RFC 3207. EHLO sends an address literal, so that no host name is disclosed."""
    _smtp_reply(session, "220")
    session.send(b"EHLO [127.0.0.1]\r\n")
    offered = _smtp_reply(session, "250")
    if not any(each.upper() == "STARTTLS" for each in offered):
        raise StarttlsRefused("the server does not offer STARTTLS")
    session.send(b"STARTTLS\r\n")
    _smtp_reply(session, "220")


def imap(session: PlaintextSession) -> None:
    """RFC 9051 §6.2.1."""
    greeting = session.read_line()
    if not greeting.startswith("* OK"):
        raise _unexpected(greeting)
    session.send(b"a1 STARTTLS\r\n")
    while (answer := session.read_line()).startswith("* "):
        pass
    if not answer.upper().startswith("A1 OK"):
        raise _unexpected(answer)


def pop3(session: PlaintextSession) -> None:
    """RFC 2595 §4."""
    for command in (None, b"STLS\r\n"):
        if command is not None:
            session.send(command)
        answer = session.read_line()
        if not answer.startswith("+OK"):
            raise _unexpected(answer)


_LDAP_OID = b"1.3.6.1.4.1.1466.20037"
_LDAP_REQUEST = (
    b"\x30\x1d\x02\x01\x01"  # LDAPMessage, messageID 1
    b"\x77\x18\x80\x16" + _LDAP_OID  # ExtendedRequest, requestName
)
_LDAP_SUCCESS = b"\x0a\x01\x00"  # resultCode success (0), an ENUMERATED


def ldap(session: PlaintextSession) -> None:
    """RFC 4511 §4.14: one extended request and its response, in BER."""
    session.send(_LDAP_REQUEST)
    body = _ber_sequence(session)
    # messageID 1, then [APPLICATION 24] ExtendedResponse, whose first element is the result.
    if not body.startswith(b"\x02\x01\x01\x78"):
        raise StarttlsRefused("the server does not speak LDAP")
    response = body[4:]
    start = 1 if response[0] < 0x80 else 1 + (response[0] & 0x7F)
    result = response[start : start + 3]
    if result != _LDAP_SUCCESS:
        number = result[2] if len(result) == 3 else "none"
        raise StarttlsRefused(f"the server refused StartTLS with result code {number}")


PROTOCOLS: Mapping[str, Callable[[PlaintextSession], None]] = MappingProxyType(
    {"smtp": smtp, "imap": imap, "pop3": pop3, "ldap": ldap}
)
"""The exchange for each protocol that `certctl.rules.service_address` accepts."""


def _smtp_reply(session: PlaintextSession, expected_code: str) -> list[str]:
    """Return the text of each line of a reply (RFC 5321 §4.2.1), which must have this code."""
    texts: list[str] = []
    while True:
        line = session.read_line()
        if line[:3] != expected_code or line[3:4] not in {"", " ", "-"}:
            raise _unexpected(line)
        texts.append(line[4:].strip())
        if line[3:4] != "-":
            return texts


def _ber_sequence(session: PlaintextSession) -> bytes:
    """Return the content of one BER SEQUENCE with a definite length."""
    tag, length = session.read_exactly(2)
    if tag != 0x30:
        raise StarttlsRefused("the server does not speak LDAP")
    if length > 0x80:
        length = int.from_bytes(session.read_exactly(length & 0x7F), "big")
    if length > MAX_BYTES or length < 5:
        raise StarttlsRefused("the server does not speak LDAP")
    return session.read_exactly(length)


def _unexpected(line: str) -> StarttlsRefused:
    shown = printable(line, _QUOTED_COLUMNS)
    return StarttlsRefused(f"unexpected response from the server: {shown!r}")
