"""Opens the sockets at which certctl answers by itself, and says what to do where that fails."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from certctl.challenges.port_holders import describe_holder, may_become_free
from certctl.challenges.system import SolverSystem
from certctl.errors import ChallengeError

BACKLOG = 1024
PORT_WAIT_SECONDS = 60.0
"""Seconds to wait for a port that another certctl answers at."""

_LOOK_AT_PORT_EVERY = 0.2

# What the kernel says where it has no IPv6, or no IPv4, at all.
_NO_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


@dataclass(frozen=True)
class Purpose:
    """What the sockets are for: the challenge, the beginning of error codes, and what else can be
    done where the port is taken, needs a privilege, or the address is none of ours.
    """

    challenge: str
    code: str
    port_taken_hint: str
    permission_hint: str
    address_hint: str

    @property
    def port_taken(self) -> str:
        """The code of the error that says so."""
        return f"{self.code}.port_taken"


HTTP_01 = Purpose(
    "HTTP-01",
    "challenge.http",
    "Let that server answer instead (--webroot DIR), stop it while certctl runs"
    " (--pre-hook and --post-hook), or listen elsewhere (--http-port) and have it forward"
    " /.well-known/acme-challenge/ there.",
    "Run certctl as root; or let everybody have the port"
    " (sysctl net.ipv4.ip_unprivileged_port_start=80), or only certctl's interpreter"
    " (setcap cap_net_bind_service=+ep); or forward port 80 to one above 1023"
    " (--http-port 8080); or do without: --webroot DIR, --dns PROVIDER.",
    "Give an address of this machine with --http-address, or none for all of them.",
)
TLS_ALPN_01 = Purpose(
    "TLS-ALPN-01",
    "challenge.tls_alpn",
    "Listen elsewhere (--tls-alpn-port) and have that server pass connections with the ALPN"
    " protocol acme-tls/1 on to there (docs/challenges.md shows how), or stop it while certctl runs"
    " (--pre-hook and --post-hook).",
    "Run certctl as root; or let everybody have the port"
    " (sysctl net.ipv4.ip_unprivileged_port_start=443), or only certctl's interpreter"
    " (setcap cap_net_bind_service=+ep); or forward port 443 to one above 1023"
    " (--tls-alpn-port 8443); or do without: --webroot DIR, --dns PROVIDER.",
    "Give an address of this machine with --tls-alpn-address, or none for all of them.",
)


def open_when_free(
    address: str | None, port: int, purpose: Purpose, system: SolverSystem
) -> list[socket.socket]:
    """Return listening sockets as `open_listeners` does, after another certctl that has the port,
    which will not have it for long.
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
            if clock.wait(system.stop, _LOOK_AT_PORT_EVERY):
                raise


def open_listeners(
    address: str | None, port: int, purpose: Purpose = HTTP_01
) -> list[socket.socket]:
    """Return listening sockets at `address`; without one, at every address, IPv4 and IPv6.

    A family that this machine lacks is left out. Raises `ChallengeError` with the purpose's code
    and `.port_taken`, `.permission` or `.address` after it.
    """
    places = _places(address, port, purpose)
    opened: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, place in places:
            try:
                opened.append(_listen(family, place))
            except OSError as error:
                if address is not None or error.errno not in _NO_FAMILY:
                    raise
                missing = error
        if not opened and missing is not None:
            raise missing
    except OSError as error:
        for each in opened:
            each.close()
        raise _explain(error, address, port, purpose) from error
    return opened


_Place = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


def _places(address: str | None, port: int, purpose: Purpose) -> Sequence[tuple[int, _Place]]:
    if address is None:
        return [(socket.AF_INET, ("0.0.0.0", port)), (socket.AF_INET6, ("::", port, 0, 0))]  # noqa: S104 - the CA may come by any address
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        found = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ChallengeError(
            f"{address!r} is not an address to listen at: {error}",
            hint=purpose.address_hint,
            code=f"{purpose.code}.address",
        ) from error
    return list(dict.fromkeys((family, place) for family, _, _, _, place in found))


def _listen(family: int, place: _Place) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A connection of the last run that the kernel still remembers is no reason to fail.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(place)
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
            f"{where} is taken" + (f" by {holder}" if holder else " by another process"),
            hint=purpose.port_taken_hint,
            code=purpose.port_taken,
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return ChallengeError(
            f"this user may not listen at {where}, as {purpose.challenge} needs",
            hint=purpose.permission_hint,
            code=f"{purpose.code}.permission",
        )
    return ChallengeError(
        f"cannot listen at {where}: {error.strerror or error}",
        hint=purpose.address_hint,
        code=f"{purpose.code}.address",
    )
