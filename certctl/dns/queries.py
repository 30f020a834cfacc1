"""A single query to a DNS server (RFC 1035), over UDP, then over TCP if the answer was truncated.

There are no retries and no cache; the caller handles missing answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query

from certctl.dns.addresses import DNS_PORT


class NoReply(Exception):
    """The server gave no usable answer; the text states why."""


@dataclass(frozen=True, order=True)
class Server:
    """A DNS server's address, IPv4 or IPv6, and its port."""

    address: str
    port: int = DNS_PORT

    @property
    def family(self) -> int:
        """The IP version: 4 or 6."""
        return 6 if ":" in self.address else 4

    def __str__(self) -> str:
        if self.port == DNS_PORT:
            return self.address
        return (
            f"[{self.address}]:{self.port}" if self.family == 6 else f"{self.address}:{self.port}"
        )


def query(
    server: Server,
    name: str,
    kind: str,
    *,
    recurse: bool,
    seconds: float,
    checking_disabled: bool = False,
) -> dns.message.Message:
    """Return the answer of `server` to a query, with any response code.

    `recurse` is the RD bit: true for a resolver, false for an authoritative server.
    `checking_disabled` is the CD bit: the resolver does not validate DNSSEC. Each of UDP and TCP
    may take `seconds`. Raises `NoReply`.
    """
    # Without EDNS, which some old servers and firewalls reject; long answers come over TCP.
    question = dns.message.make_query(dns.name.from_text(name), kind)
    if not recurse:
        question.flags &= ~dns.flags.RD
    if checking_disabled:
        question.flags |= dns.flags.CD
    try:
        answer, _ = dns.query.udp_with_fallback(
            question,
            server.address,
            timeout=seconds,
            port=server.port,
            ignore_unexpected=True,
            ignore_errors=True,
        )
    except dns.exception.Timeout as error:
        raise NoReply(f"no answer in {seconds:g} s") from error
    except OSError as error:
        raise NoReply(error.strerror or str(error)) from error
    except (dns.exception.DNSException, EOFError, ValueError) as error:
        raise NoReply(f"malformed answer ({type(error).__name__})") from error
    return answer
