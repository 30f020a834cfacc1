"""Where a TXT record belongs: past the aliases, in which zone, and on which servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from certctl.dns.queries import NoReply, Server, query
from certctl.dns.resolver import Resolver
from certctl.errors import ChallengeError
from certctl.ports import Clock

CACHE_SECONDS = 300.0
MAX_ALIASES = 16
DIRECT_SECONDS = 1.5

_PARALLEL_LOOKUPS = 16
_ONE_LABEL = 2
"""The length of a name of one label, the root's empty label being another."""


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


class Zones:
    """Finds zones and their servers, each once: what was found holds for `CACHE_SECONDS`.

    Names below a known zone are asked of its own servers: a resolver would remember that there is
    nothing at a name where a TXT record is about to be (RFC 2308 §5), and so would not see it for a
    while. Where `direct` is false, or no server can be reached from here, the resolver has to do.
    Its methods may be called from several threads.
    """

    def __init__(self, resolver: Resolver, clock: Clock, *, direct: bool = True) -> None:
        self._resolver = resolver
        self._clock = clock
        self._direct = direct
        self._guard = threading.Lock()
        self._cuts: dict[dns.name.Name, float] = {}
        self._servers: dict[str, _Found] = {}
        self._replied: dict[dns.name.Name, NameServer | None] = {}

    def locate(self, name: str) -> Location:
        """Return where a record of `name` has to be written: CNAMEs are followed to where they
        lead. Raises `ChallengeError`.
        """
        way = [dns.name.from_text(name)]
        while True:
            zone, answer = self._ask(way[-1])
            longer = _follow(answer, way)
            if longer == way:
                self._remember_cut(zone)
                return Location(_text(way[-1]), _text(zone))
            way = longer

    def name_servers(self, zone: str) -> tuple[NameServer, ...]:
        """Return what `name_servers` says of `zone`; who asks meanwhile waits for the same answer.
        Raises `ChallengeError`.
        """
        with self._guard:
            found = self._servers.setdefault(zone, _Found())
        with found.one_at_a_time:
            now = self._clock.monotonic()
            if not found.servers or now - found.since >= CACHE_SECONDS:
                found.servers, found.since = name_servers(zone, self._resolver), now
            return found.servers

    def _ask(self, name: dns.name.Name) -> tuple[dns.name.Name, dns.message.Message]:
        """Return the zone of `name`, and what its server says of it; the zone counts only where
        that is no CNAME.
        """
        zone = self._zone_above(name) if self._direct else None
        while zone is not None:
            answer = self._ask_servers(zone, name)
            if answer is None:
                break
            if cut := _delegation(answer, name, zone):
                zone = cut
                continue
            return _zone_in(answer, name) or zone, answer
        # One question tells of the alias (RFC 1034 §3.6.2) and, where there is none, of the zone,
        # since a negative answer carries its SOA too (RFC 2308 §3).
        answer = self._resolver.ask(_text(name), "SOA")
        if _is_alias(answer, name):
            return name, answer
        return _find_zone(name, answer, self._resolver), answer

    def _zone_above(self, name: dns.name.Name) -> dns.name.Name | None:
        """Return the closest zone known above `name`; its parent's where there is none."""
        now = self._clock.monotonic()
        with self._guard:
            known = [
                cut
                for cut, since in self._cuts.items()
                if name.is_subdomain(cut) and now - since < CACHE_SECONDS
            ]
        if known:
            return max(known, key=len)
        if len(name) <= _ONE_LABEL:
            return None
        parent = name.parent()
        # Records of other methods may be below names like `_acme-challenge`.
        while len(parent) > _ONE_LABEL and parent.labels[0].startswith(b"_"):
            parent = parent.parent()
        try:
            answer = self._resolver.ask(_text(parent), "SOA")
            zone = _find_zone(parent, answer, self._resolver)
        except ChallengeError:
            return None
        self._remember_cut(zone)
        return zone

    def _remember_cut(self, zone: dns.name.Name) -> None:
        with self._guard:
            self._cuts[zone] = self._clock.monotonic()

    def _ask_servers(self, zone: dns.name.Name, name: dns.name.Name) -> dns.message.Message | None:
        """Return what the first server of `zone` that makes sense says of `name`.

        The one that did so last is asked first; where none did, none is asked again.
        """
        with self._guard:
            if zone in self._replied and self._replied[zone] is None:
                return None
            last = self._replied.get(zone)
        try:
            servers = self.name_servers(_text(zone))
        except ChallengeError:
            servers = ()
        for each in sorted(servers, key=lambda one: (one != last, one.server.family, one)):
            self._resolver.check()
            try:
                answer = query(
                    each.server, _text(name), "SOA", recurse=False, seconds=DIRECT_SECONDS
                )
            except NoReply:
                continue
            if _makes_sense(answer, name, zone):
                with self._guard:
                    self._replied[zone] = each
                return answer
        with self._guard:
            self._replied[zone] = None
        return None


@dataclass
class _Found:
    """The servers of a zone, found at `since`; one caller at a time looks for them."""

    servers: tuple[NameServer, ...] = ()
    since: float = 0
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)


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


def _delegation(
    answer: dns.message.Message, name: dns.name.Name, zone: dns.name.Name
) -> dns.name.Name | None:
    """Return the zone below `zone` to which an answer refers for `name` (RFC 1034 §4.3.2)."""
    if answer.answer or answer.flags & dns.flags.AA:
        return None
    cuts = [
        rrset.name
        for rrset in answer.authority
        if rrset.rdtype == dns.rdatatype.NS
        and name.is_subdomain(rrset.name)
        and rrset.name.is_subdomain(zone)
        and rrset.name != zone
    ]
    return max(cuts, key=len, default=None)


def _makes_sense(answer: dns.message.Message, name: dns.name.Name, zone: dns.name.Name) -> bool:
    """Whether a server that was asked directly knows: one that is lame refers upwards, or fails."""
    if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return False
    return bool(answer.flags & dns.flags.AA) or _delegation(answer, name, zone) is not None


def _is_alias(answer: dns.message.Message, name: dns.name.Name) -> bool:
    return any(rrset.name == name for rrset in _records(answer, dns.rdatatype.CNAME))


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
