"""TLS as far as TLS-ALPN-01 needs it (RFC 8737 §3): a handshake for the names that are answered, by
the protocol acme-tls/1 only, and not a byte after it.

The handshake is done here over plain bytes, so that a client that stalls in the middle of one is
bounded like any other.
"""

from __future__ import annotations

import contextlib
import ssl
import tempfile

from certctl.challenges.answers import Answers
from certctl.challenges.challenge_server import Connection, Connections

PROTOCOL = "acme-tls/1"
MAX_HANDSHAKE_BYTES = 65536


def tls_context(certificate: bytes) -> ssl.SSLContext:
    """Return the context that shows a certificate; PEM, the private key before it."""
    context = _bare_context()
    # The interface takes files only; this one can be read by nobody else, and not for long.
    with tempfile.NamedTemporaryFile(prefix="certctl-") as file:
        file.write(certificate)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def sni_context(answers: Answers[ssl.SSLContext]) -> ssl.SSLContext:
    """Return the context that goes on with the answer for the name that a client asks for, and
    refuses every other name.
    """

    def choose(
        handshake: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext
    ) -> int | None:
        key = (name or "").lower().removesuffix(".")
        answer = answers.look(key)
        if answer is None or not isinstance(handshake, _Handshake):
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        handshake.asked_for = key
        handshake.context = answer
        return None

    context = _bare_context()
    context.sslobject_class = _Handshake
    context.sni_callback = choose
    return context


class _Handshake(ssl.SSLObject):
    """A server's side of a connection, with the name that the client asked for."""

    asked_for = ""


class TlsConnection(Connection):
    """One handshake. The name counts as asked for once the client has the certificate."""

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
        self._received = 0
        self._done = False

    def data_received(self, data: bytes) -> None:
        if self._done:
            return
        self._received += len(data)
        if self._received > MAX_HANDSHAKE_BYTES:
            self.drop()
            return
        self._incoming.write(data)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._transport.write(self._outgoing.read())
        except ssl.SSLError:
            # The alert that says why is waiting to be sent.
            self._finish()
        else:
            self._completed()

    def eof_received(self) -> bool:
        return False

    def _completed(self) -> None:
        if self._tls.selected_alpn_protocol() == PROTOCOL:
            self._answers.take(getattr(self._tls, "asked_for", ""))
        with contextlib.suppress(ssl.SSLError):  # the client's own farewell is not waited for
            self._tls.unwrap()
        self._finish()

    def _finish(self) -> None:
        self._done = True
        self.end(self._outgoing.read())


def _bare_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols([PROTOCOL])
    # Nobody comes back: no tickets to resume a session with.
    context.num_tickets = 0
    return context
