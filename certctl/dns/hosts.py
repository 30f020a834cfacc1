"""Looks up the addresses of names, and finds what would prevent a CA from reaching them over HTTP.

For `doctor`; changes nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from certctl.dns.resolver import Resolver
from certctl.model.errors import ChallengeError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.run import Finding, Severity


@dataclass(frozen=True)
class Host:
    """The result of looking up a name: the names in its CNAME chain, and the addresses at its end.
    `problem`: why the lookup failed; `exists`: false for NXDOMAIN.
    """

    name: str
    aliases: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    exists: bool = True
    problem: str | None = None


def look_up(name: str, resolver: Resolver) -> Host:
    """Return the result of looking up a name, also if that failed. Raises `Interrupted`."""
    try:
        answers = [resolver.ask(name, kind) for kind in ("A", "AAAA")]
    except ChallengeError as error:
        return Host(name, problem=error.message)
    addresses = [
        str(record.address)
        for answer in answers
        for rrset in answer.answer
        if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
        for record in rrset
    ]
    bad = [each.rcode() for each in answers if each.rcode() not in _MEANINGFUL]
    return Host(
        name,
        aliases=tuple(_aliases(name, answers[0])),
        addresses=tuple(dict.fromkeys(addresses)),
        exists=any(each.rcode() != dns.rcode.NXDOMAIN for each in answers),
        problem=_refused(bad[0]) if bad and not addresses else None,
    )


def address_findings(host: Host, *, public: bool) -> Iterator[Finding]:
    """Yield what could prevent a CA from reaching the host over HTTP; `public`: the CA connects
    from the Internet.
    """
    name = host.name
    if host.problem is not None:
        yield Finding(
            "dns.lookup",
            Severity.WARNING,
            name,
            f"it could not be looked up: {host.problem}",
            "Fix the DNS of the name, or use a resolver that knows it: --dns-resolver ADDRESS.",
        )
        return
    if not host.addresses:
        yield _without_address(host)
        return
    yield Finding("dns.addresses", Severity.INFO, name, _description(host))
    if public and not any(ipaddress.ip_address(each).is_global for each in host.addresses):
        yield Finding(
            "dns.private",
            Severity.ERROR,
            name,
            f"a public CA cannot reach {' or '.join(host.addresses)} from the Internet",
            "Publish an address that can be reached, or use DNS-01: --dns PROVIDER.",
        )
    elif not any(is_of_this_machine(each) for each in host.addresses):
        yield Finding(
            "dns.elsewhere",
            Severity.WARNING,
            name,
            f"none of its addresses ({', '.join(host.addresses)}) belongs to this machine",
            "This is fine behind a router or load balancer that forwards port 80 to this machine;"
            " otherwise point the A and AAAA records here.",
        )


def is_of_this_machine(address: str) -> bool:
    """Return whether an address belongs to an interface of this machine, by binding to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as trial:
            trial.bind((address, 0))
    except OSError:
        return False
    return True


_MEANINGFUL = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)


def _refused(code: dns.rcode.Rcode) -> str:
    return f"a resolver returned {dns.rcode.to_text(code)}"


def _without_address(host: Host) -> Finding:
    if not host.exists:
        message = "the name does not exist in DNS (NXDOMAIN)"
        if host.aliases:
            message = f"it is an alias of {host.aliases[-1]}, which does not exist in DNS"
        return Finding(
            "dns.nxdomain",
            Severity.ERROR,
            host.name,
            message,
            f"Add A and AAAA records for {host.aliases[-1] if host.aliases else host.name}, or"
            " check the spelling.",
        )
    return Finding(
        "dns.no_address",
        Severity.ERROR,
        host.name,
        "the name exists, but has no A or AAAA record",
        f"Add one for {host.aliases[-1] if host.aliases else host.name}, or use DNS-01:"
        " --dns PROVIDER.",
    )


def _aliases(name: str, answer: dns.message.Message) -> Iterable[str]:
    targets = {
        rrset.name: rrset[0].target
        for rrset in answer.answer
        if rrset.rdtype == dns.rdatatype.CNAME and rrset
    }
    current = dns.name.from_text(name)
    while (target := targets.pop(current, None)) is not None:
        yield target.canonicalize().to_text(omit_final_dot=True)
        current = target


def _description(host: Host) -> str:
    aliases = "".join(f"an alias of {each}, " for each in host.aliases)
    return f"{aliases}it resolves to {', '.join(host.addresses)}"
