"""One TLS handshake with one address, to find out which certificates the server presents.

Trust is not checked and no application data is sent, so old protocol versions, weak ciphers and
expired certificates are accepted.
"""

from __future__ import annotations

import errno
import socket
import ssl
import time
from enum import Enum
from typing import Any

from certctl.deploy.starttls import PROTOCOLS, PlaintextSession, StarttlsRefused
from certctl.model.lazy_dataclass import dataclass

TIMEOUT = 5.0
"""Seconds that one connection may take, from its first packet to the end of the handshake."""


class KeyKind(Enum):
    """The type of certificate to request from a server that has both an RSA and an ECDSA one."""

    ANY = None
    RSA = "aRSA"
    ECDSA = "aECDSA"

    @property
    def only(self) -> str | None:
        """The only kind of key that such a client supports, None if it supports both."""
        return None if self is KeyKind.ANY else self.name.lower()


class HandshakeFailed(Exception):
    """No certificate was received; the message states why. `unreachable`: this machine has no route
    to the address; `refused`: the connection was refused.
    """

    def __init__(self, reason: str, *, unreachable: bool = False, refused: bool = False) -> None:
        super().__init__(reason)
        self.unreachable = unreachable
        self.refused = refused


@dataclass(frozen=True)
class PresentedChain:
    """The certificates that a server presented, in DER, in the order received (leaf first)."""

    certificates: tuple[bytes, ...]
    protocol: str

    @property
    def leaf(self) -> bytes:
        """The server's own certificate."""
        return self.certificates[0]


def handshake(
    address: str,
    port: int,
    *,
    server_name: str | None,
    starttls: str | None = None,
    kind: KeyKind = KeyKind.ANY,
    seconds: float = TIMEOUT,
) -> PresentedChain:
    """Return the certificates presented at `address` for `server_name`; None sends no SNI.

    Raises `HandshakeFailed`.
    """
    deadline = time.monotonic() + seconds
    try:
        with socket.create_connection((address, port), timeout=seconds) as connection:
            if starttls is not None:
                PROTOCOLS[starttls](PlaintextSession(connection, deadline))
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            return _handshake(connection, server_name, kind)
    except StarttlsRefused as error:
        raise HandshakeFailed(str(error)) from error
    except ssl.SSLError as error:
        raise HandshakeFailed(f"the TLS handshake failed: {_tls_reason(error)}") from error
    except TimeoutError as error:
        raise HandshakeFailed(f"no answer within {seconds:g} s") from error
    except OSError as error:
        raise _connection_failed(error) from error


def trust_error(
    address: str, port: int, *, server_name: str, starttls: str | None = None
) -> str | None:
    """Return why a client with this system's root certificates does not trust the certificate
    presented for `server_name`; None if it does. Raises `HandshakeFailed`.
    """
    deadline = time.monotonic() + TIMEOUT
    try:
        context = ssl.create_default_context()
        with socket.create_connection((address, port), timeout=TIMEOUT) as connection:
            if starttls is not None:
                PROTOCOLS[starttls](PlaintextSession(connection, deadline))
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            with context.wrap_socket(connection, server_hostname=server_name):
                return None
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except (StarttlsRefused, ssl.SSLError) as error:
        raise HandshakeFailed(str(error)) from error
    except OSError as error:
        raise _connection_failed(error) from error


def _handshake(connection: socket.socket, server_name: str | None, kind: KeyKind) -> PresentedChain:
    context = _context(kind)
    with context.wrap_socket(
        connection, server_hostname=server_name, do_handshake_on_connect=False
    ) as secured:
        secured.do_handshake()
        certificates = _certificates(secured)
        if not certificates:
            raise HandshakeFailed("the TLS handshake failed: the server sent no certificate")
        return PresentedChain(certificates, secured.version() or "")


def _context(kind: KeyKind) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    if kind is KeyKind.ANY:
        context.set_ciphers("ALL:@SECLEVEL=0")
    else:
        # Only up to TLS 1.2 does the cipher suite determine the type of certificate.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(f"{kind.value}:@SECLEVEL=0")
    return context


def _certificates(secured: ssl.SSLSocket) -> tuple[bytes, ...]:
    """Return all certificates received, in order, in DER."""
    chain: Any = getattr(secured, "get_unverified_chain", None)
    if chain is None:
        # Before Python 3.13 only the inner object has this method.
        inner: Any = secured._sslobj  # type: ignore[attr-defined]
        return tuple(
            ssl.PEM_cert_to_DER_cert(each.public_bytes())
            for each in inner.get_unverified_chain() or ()
        )
    return tuple(chain() or ())


def _tls_reason(error: ssl.SSLError) -> str:
    reason = (error.reason or "").lower().replace("_", " ")
    if "wrong version number" in reason or "packet length too long" in reason:
        return "the server does not speak TLS on this port"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "the server closed the connection"
    return reason or str(error)


def _connection_failed(error: OSError) -> HandshakeFailed:
    match error.errno:
        case errno.ECONNREFUSED:
            return HandshakeFailed("connection refused", refused=True)
        case errno.ENETUNREACH | errno.EAFNOSUPPORT | errno.EADDRNOTAVAIL:
            return HandshakeFailed("this machine has no route to that address", unreachable=True)
        case errno.ECONNRESET | errno.EPIPE:
            return HandshakeFailed("the server closed the connection")
    return HandshakeFailed((error.strerror or str(error)).lower())
