"""A minimal TLS server for TLS-ALPN-01 (RFC 8737 §3): it completes the handshake for known names,
with the protocol acme-tls/1 only, and sends no application data. A client that does not offer the
protocol, or asks for another name, gets an alert and no certificate.

OpenSSL completes a handshake without ALPN if the client offers none of the server's protocols (in
Python's `ssl`, at least), so the client's first message is parsed here before OpenSSL answers it.
The handshake runs on memory buffers, so that the server's time limits also apply to a client that
stalls in the middle of it.
"""

from __future__ import annotations

import contextlib
import ssl
import tempfile

from certctl.challenges.answers import Answers
from certctl.challenges.challenge_server import Connection, Connections
from certctl.challenges.client_hello import IncompleteHello, InvalidHello, offered_protocols

PROTOCOL = "acme-tls/1"
MAX_HANDSHAKE_BYTES = 65536

_NO_APPLICATION_PROTOCOL = 120
_DECODE_ERROR = 50


def tls_context(certificate: bytes) -> ssl.SSLContext:
    """Return a context that presents `certificate`: PEM, the private key first."""
    context = _base_context()
    # `load_cert_chain` takes only files; this one has mode 0600 and is deleted at once.
    with tempfile.NamedTemporaryFile(prefix="certctl-") as file:
        file.write(certificate)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def sni_context(answers: Answers[ssl.SSLContext]) -> ssl.SSLContext:
    """Return a context that switches to the answer for the client's SNI name, and rejects names
    without an answer.
    """

    def choose(
        handshake: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext
    ) -> int | None:
        key = (name or "").lower().removesuffix(".")
        answer = answers.get(key)
        if answer is None or not isinstance(handshake, _Handshake):
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        handshake.requested_name = key
        handshake.context = answer
        return None

    context = _base_context()
    context.sslobject_class = _Handshake
    context.sni_callback = choose
    return context


class _Handshake(ssl.SSLObject):
    """The server's side of a connection, with the SNI name that the client sent."""

    requested_name = ""


class TlsConnection(Connection):
    """One handshake. The name counts as requested once the handshake is complete."""

    def __init__(
        self,
        answers: Answers[ssl.SSLContext],
        context: ssl.SSLContext,
        connections: Connections,
    ) -> None:
        super().__init__(connections)
        self._answers = answers
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._hello: bytearray | None = bytearray()
        self._received = 0
        self._done = False

    def data_received(self, data: bytes) -> None:
        if self._done:
            return
        self._received += len(data)
        if self._received > MAX_HANDSHAKE_BYTES:
            self.drop()
            return
        if self._hello is not None:
            self._hello += data
            try:
                protocols = offered_protocols(self._hello)
            except IncompleteHello:
                return
            except InvalidHello:
                self._refuse(_DECODE_ERROR)
                return
            if PROTOCOL.encode("ascii") not in protocols:
                self._refuse(_NO_APPLICATION_PROTOCOL)
                return
            data, self._hello = bytes(self._hello), None
        self._incoming.write(data)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._transport.write(self._outgoing.read())
        except ssl.SSLError:
            # The outgoing buffer holds the alert for the client.
            self._finish()
        else:
            self._completed()

    def eof_received(self) -> bool:
        return False

    def _refuse(self, alert: int) -> None:
        """End the connection with a fatal alert (RFC 8446 §6.2), without a handshake."""
        self._done = True
        self.end(bytes((21, 3, 3, 0, 2, 2, alert)))

    def _completed(self) -> None:
        if self._tls.selected_alpn_protocol() == PROTOCOL:
            self._answers.take(getattr(self._tls, "requested_name", ""))
        with contextlib.suppress(ssl.SSLError):  # does not wait for the client's close_notify
            self._tls.unwrap()
        self._finish()

    def _finish(self) -> None:
        self._done = True
        self.end(self._outgoing.read())


def _base_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols([PROTOCOL])
    # Sessions are never resumed, so no tickets are needed.
    context.num_tickets = 0
    return context
