"""Queries to recursive resolvers: the system's, or the one that the user chose.

Returns DNS messages; the callers interpret them.
"""

from __future__ import annotations

import ipaddress
import threading
from typing import Self

import dns.exception
import dns.message
import dns.rcode
import dns.resolver

from certctl.dns.addresses import DNS_PORT, check_server
from certctl.dns.queries import NoReply, Server, query
from certctl.model.errors import ChallengeError, Interrupted
from certctl.model.lazy_dataclass import dataclass
from certctl.model.ports import Clock

QUERY_SECONDS = 3.0
ROUNDS = 2

_MOMENT = 0.1
_MEANINGFUL = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)


def parse_server(text: str) -> Server:
    """Return the server for `ADDRESS` or `ADDRESS:PORT` (`[ADDRESS]:PORT` for IPv6).

    Raises `ConfigurationError`.
    """
    return Server(*check_server(text))


@dataclass(frozen=True)
class TimeLimit:
    """The end of a series of queries, `at` a time of the clock's `monotonic`."""

    clock: Clock
    at: float

    @classmethod
    def until(cls, clock: Clock, seconds: float, deadline: float | None) -> Self:
        """Return the limit in `seconds` from now, or at the `deadline` if that is earlier."""
        limit = cls(clock, clock.monotonic() + seconds)
        return limit if deadline is None or deadline >= limit.at else cls(clock, deadline)

    def at_most(self, seconds: float) -> TimeLimit:
        """Return this limit, or one in `seconds` from now if that is earlier."""
        return TimeLimit.until(self.clock, seconds, self.at)

    def of(self, seconds: float) -> float:
        """Return how many of these `seconds` a query may take; at least a moment."""
        return max(_MOMENT, min(seconds, self.at - self.clock.monotonic()))

    def check(self, name: str) -> None:
        """Raise `ChallengeError` if the time is up."""
        if self.clock.monotonic() >= self.at:
            raise ChallengeError(
                f"the DNS lookups for {name} took too long",
                hint="Check the name servers of its zone and the resolver; to use another one:"
                " --dns-resolver ADDRESS[:PORT].",
                code="challenge.dns.lookup",
            )


class Resolver:
    """The resolvers to query, in order; those of /etc/resolv.conf if `address` is None."""

    def __init__(self, address: str | None, stop: threading.Event) -> None:
        self._stop = stop
        self._servers = _system_servers() if address is None else (parse_server(address),)

    def ask(self, name: str, kind: str, limit: TimeLimit | None = None) -> dns.message.Message:
        """Return the answer to a query: records, or that there are none.

        Raises `ChallengeError` if no resolver answers in time, and `Interrupted`.
        """
        problems: dict[Server, str] = {}
        for _ in range(ROUNDS):
            for server in self._servers:
                self.check()
                if limit is not None:
                    limit.check(name)
                seconds = QUERY_SECONDS if limit is None else limit.of(QUERY_SECONDS)
                try:
                    answer = query(server, name, kind, recurse=True, seconds=seconds)
                except NoReply as error:
                    problems[server] = str(error)
                    continue
                # A CNAME into a broken zone, or a CNAME loop, is returned with SERVFAIL.
                if answer.rcode() in _MEANINGFUL or answer.answer:
                    return answer
                problems[server] = f"it returned {dns.rcode.to_text(answer.rcode())}"
        reasons = "; ".join(f"{server}: {problem}" for server, problem in problems.items())
        raise ChallengeError(
            f"cannot look up the {kind} records of {name} ({reasons})",
            hint="Use a resolver that knows the zone: --dns-resolver ADDRESS[:PORT].",
            code="challenge.dns.lookup",
        )

    def refuses_signatures(self, name: str, kind: str) -> Server | None:
        """Return the resolver that answers a query with SERVFAIL, and with an answer if it is asked
        not to validate DNSSEC; None if there is none. Raises `Interrupted`.
        """
        for server in self._servers:
            self.check()
            try:
                checked, unchecked = (
                    query(
                        server,
                        name,
                        kind,
                        recurse=True,
                        seconds=QUERY_SECONDS,
                        checking_disabled=off,
                    ).rcode()
                    for off in (False, True)
                )
            except NoReply:
                continue
            if checked == dns.rcode.SERVFAIL and unchecked in _MEANINGFUL:
                return server
        return None

    def check(self) -> None:
        """Raise `Interrupted` if the run has been interrupted."""
        if self._stop.is_set():
            raise Interrupted("stopped while looking up names in DNS")

    def server_at(self, address: str) -> Server:
        """Return the authoritative server at `address`. NS records have no ports, so it is 53.

        But if the user chose a resolver with another port, that port is also used for authoritative
        servers on the same host: this supports a private DNS server on one machine.
        """
        for resolver in self._servers:
            if resolver.port != DNS_PORT and _same_host(resolver.address, address):
                return Server(address, resolver.port)
        return Server(address)


def _system_servers() -> tuple[Server, ...]:
    try:
        system = dns.resolver.Resolver()
    except (dns.exception.DNSException, OSError) as error:
        raise ChallengeError(
            f"this machine has no DNS resolver: {error}",
            hint="Set one with --dns-resolver ADDRESS[:PORT].",
            code="challenge.dns.lookup",
        ) from error
    return tuple(Server(str(each), system.port) for each in system.nameservers)


def _same_host(one: str, other: str) -> bool:
    if one == other:
        return True
    return _is_loopback(one) and _is_loopback(other)


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
