"""Opens the listening sockets of certctl's own servers, and explains why one cannot be opened."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from certctl.challenges.system import SolverSystem
from certctl.model.errors import ChallengeError
from certctl.model.lazy_dataclass import dataclass
from certctl.system.port_holders import describe_holder, may_become_free

BACKLOG = 1024
PORT_WAIT_SECONDS = 60.0
"""How many seconds to wait for a port that another certctl is using."""

_PORT_POLL_SECONDS = 0.2

# The kernel's errors if IPv6 (or IPv4) is not available at all.
_FAMILY_UNAVAILABLE = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


@dataclass(frozen=True)
class Purpose:
    """What the sockets are for: the challenge, the prefix of the error codes, and hints for a port
    that is in use or needs a privilege, and for an address that is not one of this machine's.
    """

    challenge: str
    code: str
    port_taken_hint: str
    permission_hint: str
    address_hint: str

    @property
    def port_taken(self) -> str:
        """The error code for a port that is in use."""
        return f"{self.code}.port_taken"


HTTP_01 = Purpose(
    "HTTP-01",
    "challenge.http",
    "If it is nginx, `certctl secure NAME` sets everything up. Otherwise let that server serve"
    " the answer from its document root (--webroot DIR); or have it forward"
    " /.well-known/acme-challenge/ to certctl on another port (--http-port 8080;"
    " `certctl snippet nginx NAME --http-port 8080` prints the lines); or stop it while certctl"
    " runs (--pre-hook and --post-hook).",
    "Run certctl as root; or allow all users to open the port"
    " (sysctl net.ipv4.ip_unprivileged_port_start=80), or only certctl's interpreter"
    " (setcap cap_net_bind_service=+ep); or forward port 80 to a port above 1023"
    " (--http-port 8080); or use a method that does not need the port: --webroot DIR,"
    " --dns PROVIDER.",
    "Set --http-address to an address of this machine, or leave it out to listen on all of them.",
)
TLS_ALPN_01 = Purpose(
    "TLS-ALPN-01",
    "challenge.tls_alpn",
    "Have certctl listen on another port (--tls-alpn-port) and that server forward connections with"
    " the ALPN protocol acme-tls/1 to it (nginx by ssl_preread, HAProxy by req.ssl_alpn); or stop"
    " the server while certctl runs (--pre-hook and --post-hook).",
    "Run certctl as root; or allow all users to open the port"
    " (sysctl net.ipv4.ip_unprivileged_port_start=443), or only certctl's interpreter"
    " (setcap cap_net_bind_service=+ep); or forward port 443 to a port above 1023"
    " (--tls-alpn-port 8443); or use a method that does not need the port: --webroot DIR,"
    " --dns PROVIDER.",
    "Set --tls-alpn-address to an address of this machine, or leave it out to listen on all of"
    " them.",
)


def open_when_free(
    address: str | None, port: int, purpose: Purpose, system: SolverSystem
) -> list[socket.socket]:
    """Return listening sockets as `open_listeners` does, but wait up to `PORT_WAIT_SECONDS` while
    another certctl uses the port.
    """
    clock = system.clock
    give_up = clock.monotonic() + PORT_WAIT_SECONDS
    while True:
        try:
            return open_listeners(address, port, purpose)
        except ChallengeError as error:
            waits = error.code == purpose.port_taken and clock.monotonic() < give_up
            if not (waits and may_become_free(port)):
                raise
            if clock.wait(system.stop, _PORT_POLL_SECONDS):
                raise


def open_listeners(
    address: str | None, port: int, purpose: Purpose = HTTP_01
) -> list[socket.socket]:
    """Return listening sockets on `address`; if it is None, on all addresses, IPv4 and IPv6.

    An address family that this machine does not have is left out. Raises `ChallengeError` with the
    purpose's code followed by `.port_taken`, `.permission` or `.address`.
    """
    addresses = _socket_addresses(address, port, purpose)
    opened: list[socket.socket] = []
    unavailable: OSError | None = None
    try:
        for family, socket_address in addresses:
            try:
                opened.append(_listen(family, socket_address))
            except OSError as error:
                if address is not None or error.errno not in _FAMILY_UNAVAILABLE:
                    raise
                unavailable = error
        if not opened and unavailable is not None:
            raise unavailable
    except OSError as error:
        for each in opened:
            each.close()
        raise _explain(error, address, port, purpose) from error
    return opened


_SocketAddress = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


def _socket_addresses(
    address: str | None, port: int, purpose: Purpose
) -> Sequence[tuple[int, _SocketAddress]]:
    if address is None:
        return [(socket.AF_INET, ("0.0.0.0", port)), (socket.AF_INET6, ("::", port, 0, 0))]  # noqa: S104 - the CA may connect to any address
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        resolved = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ChallengeError(
            f"cannot listen on the address {address!r}: {error}",
            hint=purpose.address_hint,
            code=f"{purpose.code}.address",
        ) from error
    return list(dict.fromkeys((family, found) for family, _, _, _, found in resolved))


def _listen(family: int, socket_address: _SocketAddress) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Connections of the last run in TIME_WAIT must not block the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(socket_address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _explain(error: OSError, address: str | None, port: int, purpose: Purpose) -> ChallengeError:
    where = f"port {port}" if address is None else f"port {port} of {address}"
    if error.errno == errno.EADDRINUSE:
        holder = describe_holder(port)
        return ChallengeError(
            f"{where} is in use by {holder or 'another process'}",
            hint=purpose.port_taken_hint,
            code=purpose.port_taken,
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return ChallengeError(
            f"this user is not permitted to listen on {where}, which {purpose.challenge} needs",
            hint=purpose.permission_hint,
            code=f"{purpose.code}.permission",
        )
    return ChallengeError(
        f"cannot listen on {where}: {error.strerror or error}",
        hint=purpose.address_hint,
        code=f"{purpose.code}.address",
    )
