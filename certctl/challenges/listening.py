"""Opens the sockets of the stand-alone HTTP-01 server, and says what to do where that fails."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from certctl.challenges.port_holders import describe_holder
from certctl.errors import ChallengeError

BACKLOG = 1024
PORT_TAKEN = "challenge.http.port_taken"

# What the kernel says where it has no IPv6, or no IPv4, at all.
_NO_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})

_WAYS_ROUND_A_TAKEN_PORT = (
    "Let that server answer instead (--webroot DIR), stop it while certctl runs"
    " (--pre-hook and --post-hook), or listen elsewhere (--http-port) and have it forward"
    " /.well-known/acme-challenge/ there."
)
_WAYS_TO_A_LOW_PORT = (
    "Run certctl as root; or let everybody have the port"
    " (sysctl net.ipv4.ip_unprivileged_port_start=80), or only certctl's interpreter"
    " (setcap cap_net_bind_service=+ep); or forward port 80 to one above 1023"
    " (--http-port 8080); or do without: --webroot DIR, --dns PROVIDER."
)


def open_listeners(address: str | None, port: int) -> list[socket.socket]:
    """Return listening sockets at `address`; without one, at every address, IPv4 and IPv6.

    A family that this machine lacks is left out. Raises `ChallengeError` with the code
    `challenge.http.port_taken`, `challenge.http.permission` or `challenge.http.address`.
    """
    places = _places(address, port)
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
        raise _explain(error, address, port) from error
    return opened


_Place = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


def _places(address: str | None, port: int) -> Sequence[tuple[int, _Place]]:
    if address is None:
        return [(socket.AF_INET, ("0.0.0.0", port)), (socket.AF_INET6, ("::", port, 0, 0))]  # noqa: S104 - the CA may come by any address
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        found = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ChallengeError(
            f"{address!r} is not an address to listen at: {error}",
            hint="Give an address of this machine with --http-address, or none for all of them.",
            code="challenge.http.address",
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


def _explain(error: OSError, address: str | None, port: int) -> ChallengeError:
    where = f"port {port}" if address is None else f"port {port} of {address}"
    if error.errno == errno.EADDRINUSE:
        holder = describe_holder(port)
        return ChallengeError(
            f"{where} is taken" + (f" by {holder}" if holder else " by another process"),
            hint=_WAYS_ROUND_A_TAKEN_PORT,
            code=PORT_TAKEN,
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return ChallengeError(
            f"this user may not listen at {where}, as HTTP-01 needs",
            hint=_WAYS_TO_A_LOW_PORT,
            code="challenge.http.permission",
        )
    return ChallengeError(
        f"cannot listen at {where}: {error.strerror or error}",
        hint="Give an address of this machine with --http-address, or none for all of them.",
        code="challenge.http.address",
    )
