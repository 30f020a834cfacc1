"""Where a TXT record belongs: past the aliases, in which zone, and on which servers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import dns.message
import dns.name
import dns.rdatatype
import dns.rrset

from certctl.dns.queries import Server
from certctl.dns.resolver import Resolver
from certctl.errors import ChallengeError

MAX_ALIASES = 16
_PARALLEL_LOOKUPS = 16


@dataclass(frozen=True)
class Location:
    """Where a record stands: its name after all aliases, and the zone; without trailing dots."""

    name: str
    zone: str


@dataclass(frozen=True, order=True)
class NameServer:
    """One address of an authoritative server; `host` is its name in the NS record."""

    host: str
    server: Server

    def __str__(self) -> str:
        return f"{self.host} ({self.server})"


def locate(name: str, resolver: Resolver) -> Location:
    """Return where a record of `name` has to be written: CNAMEs are followed to where they lead.

    One question for SOA tells of the alias (RFC 1034 §3.6.2) and, where there is none, of the zone,
    since a negative answer carries its SOA too (RFC 2308 §3). Raises `ChallengeError`.
    """
    way = [dns.name.from_text(name)]
    while True:
        answer = resolver.ask(_text(way[-1]), "SOA")
        longer = _follow(answer, way)
        if longer == way:
            return Location(_text(way[-1]), _text(_find_zone(way[-1], answer, resolver)))
        way = longer


def name_servers(zone: str, resolver: Resolver) -> tuple[NameServer, ...]:
    """Return every address of every authoritative server of `zone`, each address once, sorted.

    A server whose address cannot be found is left out: the CA's resolver cannot ask it either.
    Raises `ChallengeError` where no server is left.
    """
    apex = dns.name.from_text(zone)
    hosts = sorted(
        _text(record.target)
        for rrset in _records(resolver.ask(zone, "NS"), dns.rdatatype.NS)
        if rrset.name == apex
        for record in rrset
    )
    problems: list[str] = []

    def addresses(question: tuple[str, str]) -> list[NameServer]:
        host, kind = question
        try:
            answer = resolver.ask(host, kind)
        except ChallengeError as error:
            problems.append(error.message)
            return []
        return [
            NameServer(host, resolver.server_at(str(record.address)))
            for rrset in _records(answer, dns.rdatatype.from_text(kind))
            for record in rrset
        ]

    questions = [(host, kind) for host in hosts for kind in ("A", "AAAA")]
    with ThreadPoolExecutor(_PARALLEL_LOOKUPS) as pool:
        found = {each.server: each for some in pool.map(addresses, questions) for each in some}
    if not found:
        raise ChallengeError(
            f"no authoritative server of the zone {zone} can be found"
            + "".join(f"; {problem}" for problem in problems),
            hint="Name a resolver that knows the zone with --dns-resolver ADDRESS[:PORT].",
            code="challenge.dns.zone",
        )
    return tuple(sorted(found.values()))


def _find_zone(
    name: dns.name.Name, answer: dns.message.Message, resolver: Resolver
) -> dns.name.Name:
    """Return the zone of `name`, of which `answer` is the answer for SOA; climbs where it must."""
    current, zone = name, _zone_in(answer, name)
    while zone is None and current != dns.name.root:
        current = current.parent()
        zone = _zone_in(resolver.ask(_text(current), "SOA"), current)
    if zone is None or zone == dns.name.root:
        raise ChallengeError(
            f"{_text(name)} lies in no zone of the DNS: no name above it has an SOA record",
            hint="Check the name; if its zone is private, name a resolver that knows it with"
            " --dns-resolver ADDRESS[:PORT].",
            code="challenge.dns.zone",
        )
    return zone


def _zone_in(answer: dns.message.Message, name: dns.name.Name) -> dns.name.Name | None:
    owners = [
        rrset.name
        for rrset in (*answer.answer, *answer.authority)
        if rrset.rdtype == dns.rdatatype.SOA and name.is_subdomain(rrset.name)
    ]
    return max(owners, key=len, default=None)


def _follow(answer: dns.message.Message, way: Sequence[dns.name.Name]) -> list[dns.name.Name]:
    """Return `way` and the names to which the CNAMEs in `answer` lead from its end.

    Raises `ChallengeError` for a circle, and for more than `MAX_ALIASES`.
    """
    aliases = {
        rrset.name: rrset[0].target for rrset in _records(answer, dns.rdatatype.CNAME) if rrset
    }
    followed = list(way)
    while followed[-1] in aliases:
        target = aliases[followed[-1]]
        circle = target in followed
        followed.append(target)
        if circle or len(followed) > MAX_ALIASES + 1:
            raise ChallengeError(
                f"the CNAMEs of {_text(followed[0])} lead in a circle, or too far: "
                + " -> ".join(_text(each) for each in followed),
                hint="Make it an alias of the one name that holds the TXT record.",
                code="challenge.dns.alias",
            )
    return followed


def _records(
    answer: dns.message.Message, kind: dns.rdatatype.RdataType
) -> Iterator[dns.rrset.RRset]:
    return (rrset for rrset in answer.answer if rrset.rdtype == kind)


def _text(name: dns.name.Name) -> str:
    return name.canonicalize().to_text(omit_final_dot=True)
