"""DNS lookups for validations. Needs dnspython."""

from __future__ import annotations

import ipaddress

import dns.exception
import dns.rdata
import dns.rdtypes.ANY.TXT
import dns.resolver

from certctl.devca.problems import Problem

SECONDS = 10.0


def txt(server: str, name: str) -> list[str]:
    """Return the TXT values at a name, following CNAMEs; raises `Problem` dns."""
    found = _ask(server, name, "TXT")
    return [
        b"".join(each.strings).decode("ascii", "replace")
        for each in found
        if isinstance(each, dns.rdtypes.ANY.TXT.TXT)
    ]


def addresses(server: str, name: str) -> list[str]:
    """Return the addresses of a name, IPv6 first; raises `Problem` dns."""
    found = [str(each) for kind in ("AAAA", "A") for each in _ask(server, name, kind)]
    if not found:
        raise Problem("dns", f"{name} has no address")
    return found


def _ask(server: str, name: str, kind: str) -> list[dns.rdata.Rdata]:
    host, port = split(server)
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [host]
    resolver.port = port
    try:
        answer = resolver.resolve(
            name, kind, raise_on_no_answer=False, lifetime=SECONDS, search=False
        )
    except dns.resolver.NXDOMAIN:
        return []
    except (dns.exception.DNSException, OSError) as error:
        raise Problem("dns", f"{kind} of {name}: {type(error).__name__}") from None
    return list(answer.rrset or ())


def split(server: str) -> tuple[str, int]:
    """Return the address and port in `ADDRESS[:PORT]`; raises `ValueError`."""
    host, colon, port = server.rpartition(":")
    if not colon or (":" in host and not server.startswith("[")):
        host, port = server, "53"
    return str(ipaddress.ip_address(host.strip("[]"))), int(port)
