"""One TLS handshake with one address, to see which certificates are shown there.

Whom to trust is not asked here: what a server shows is looked at, and nothing is sent to it. So old
protocol versions and weak ciphers are good enough, and a certificate may be expired.
"""

from __future__ import annotations

import errno
import socket
import ssl
import time
from dataclasses import dataclass
from enum import Enum
from typing import Any

from certctl.deploy.starttls import PROTOCOLS, Conversation, Refused

SECONDS = 5.0
"""How long one connection may take, from its first packet to the end of the handshake."""


class Kind(Enum):
    """Which of a server's certificates to ask for, where it has one of each kind."""

    ANY = None
    RSA = "aRSA"
    ECDSA = "aECDSA"


class NotSeen(Exception):
    """No certificate was seen; the text says why. `unreachable` where this machine has no way
    there, `refused` where nobody listens.
    """

    def __init__(self, reason: str, *, unreachable: bool = False, refused: bool = False) -> None:
        super().__init__(reason)
        self.unreachable = unreachable
        self.refused = refused


@dataclass(frozen=True)
class Shown:
    """What a server showed: its certificates as DER, as they came, the leaf first."""

    certificates: tuple[bytes, ...]
    protocol: str

    @property
    def leaf(self) -> bytes:
        """The certificate of the server itself."""
        return self.certificates[0]


def shake_hands(
    address: str,
    port: int,
    *,
    server_name: str | None,
    starttls: str | None = None,
    kind: Kind = Kind.ANY,
    seconds: float = SECONDS,
) -> Shown:
    """Return the certificates that are shown at `address` to who asks for `server_name` (SNI), or
    for nobody by name.

    Raises `NotSeen`.
    """
    deadline = time.monotonic() + seconds
    try:
        with socket.create_connection((address, port), timeout=seconds) as connection:
            if starttls is not None:
                PROTOCOLS[starttls](Conversation(connection, deadline))
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            return _handshake(connection, server_name, kind)
    except Refused as error:
        raise NotSeen(str(error)) from error
    except ssl.SSLError as error:
        raise NotSeen(f"the TLS handshake failed: {_said(error)}") from error
    except TimeoutError as error:
        raise NotSeen(f"no answer in {seconds:g} s") from error
    except OSError as error:
        raise _unreached(error) from error


def distrust(
    address: str, port: int, *, server_name: str, starttls: str | None = None
) -> str | None:
    """Return why a usual client with this system's roots does not trust what it is shown under
    `server_name`; None where it does. Raises `NotSeen`.
    """
    deadline = time.monotonic() + SECONDS
    try:
        context = ssl.create_default_context()
        with socket.create_connection((address, port), timeout=SECONDS) as connection:
            if starttls is not None:
                PROTOCOLS[starttls](Conversation(connection, deadline))
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            with context.wrap_socket(connection, server_hostname=server_name):
                return None
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except (Refused, ssl.SSLError) as error:
        raise NotSeen(str(error)) from error
    except OSError as error:
        raise _unreached(error) from error


def _handshake(connection: socket.socket, server_name: str | None, kind: Kind) -> Shown:
    context = _context(kind)
    with context.wrap_socket(
        connection, server_hostname=server_name, do_handshake_on_connect=False
    ) as secured:
        secured.do_handshake()
        certificates = _certificates(secured)
        if not certificates:
            raise NotSeen("the TLS handshake failed: the server showed no certificate")
        return Shown(certificates, secured.version() or "")


def _context(kind: Kind) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    if kind is Kind.ANY:
        context.set_ciphers("ALL:@SECLEVEL=0")
    else:
        # The kind of certificate is the cipher's affair up to TLS 1.2 only.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(f"{kind.value}:@SECLEVEL=0")
    return context


def _certificates(secured: ssl.SSLSocket) -> tuple[bytes, ...]:
    """Return all certificates that came, in their order, as DER."""
    chain: Any = getattr(secured, "get_unverified_chain", None)
    if chain is None:
        # Before Python 3.13 only the inner object has it.
        inner: Any = secured._sslobj  # type: ignore[attr-defined]
        return tuple(
            ssl.PEM_cert_to_DER_cert(each.public_bytes())
            for each in inner.get_unverified_chain() or ()
        )
    return tuple(chain() or ())


def _said(error: ssl.SSLError) -> str:
    reason = (error.reason or "").lower().replace("_", " ")
    if "wrong version number" in reason or "packet length too long" in reason:
        return "what listens there does not speak TLS"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "the server closed the connection"
    return reason or str(error)


def _unreached(error: OSError) -> NotSeen:
    match error.errno:
        case errno.ECONNREFUSED:
            return NotSeen("connection refused", refused=True)
        case errno.ENETUNREACH | errno.EAFNOSUPPORT | errno.EADDRNOTAVAIL:
            return NotSeen("this machine has no way to that address", unreachable=True)
        case errno.ECONNRESET | errno.EPIPE:
            return NotSeen("the server closed the connection")
    return NotSeen((error.strerror or str(error)).lower())
