"""Finds the location of a TXT record: its name after CNAMEs, its zone, and the zone's servers."""

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
"""The length of a name with one label, including the root's empty label."""


@dataclass(frozen=True)
class Location:
    """The location of a record: its name after all CNAMEs, and its zone; without trailing dots."""

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
    """Finds zones and their servers, and caches them for `CACHE_SECONDS`. Thread-safe.

    Names below a known zone are looked up on its authoritative servers: a resolver would cache the
    absence of the TXT record that is about to be added (RFC 2308 §5), and not see it for a while.
    The resolver is used if `direct` is false, or if none of the servers can be reached.
    """

    def __init__(self, resolver: Resolver, clock: Clock, *, direct: bool = True) -> None:
        self._resolver = resolver
        self._clock = clock
        self._direct = direct
        self._guard = threading.Lock()
        self._cuts: dict[dns.name.Name, float] = {}
        self._servers: dict[str, _CachedServers] = {}
        self._replied: dict[dns.name.Name, NameServer | None] = {}

    def locate(self, name: str) -> Location:
        """Return where the record for `name` has to be written, after following CNAMEs. Raises
        `ChallengeError`.
        """
        chain = [dns.name.from_text(name)]
        while True:
            zone, answer = self._ask(chain[-1])
            longer = _follow(answer, chain)
            if longer == chain:
                self._remember_cut(zone)
                return Location(_text(chain[-1]), _text(zone))
            chain = longer

    def name_servers(self, zone: str) -> tuple[NameServer, ...]:
        """Return the servers of `zone`; concurrent callers wait for the same lookup. Raises
        `ChallengeError`.
        """
        with self._guard:
            found = self._servers.setdefault(zone, _CachedServers())
        with found.one_at_a_time:
            now = self._clock.monotonic()
            if not found.servers or now - found.since >= CACHE_SECONDS:
                found.servers, found.since = name_servers(zone, self._resolver), now
            return found.servers

    def _ask(self, name: dns.name.Name) -> tuple[dns.name.Name, dns.message.Message]:
        """Return the zone of `name`, and the answer for it; the zone is valid only if the answer is
        not a CNAME.
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
        # One query returns the CNAME (RFC 1034 §3.6.2) or, if there is none, the zone: a negative
        # answer has its SOA record, too (RFC 2308 §3).
        answer = self._resolver.ask(_text(name), "SOA")
        if _is_alias(answer, name):
            return name, answer
        return _find_zone(name, answer, self._resolver), answer

    def _zone_above(self, name: dns.name.Name) -> dns.name.Name | None:
        """Return the closest known zone above `name`; look up its parent's if none is known."""
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
        # Skip labels like `_acme-challenge`: the parent of a record may be such a name, too.
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
        """Return the first usable answer for `name` from the servers of `zone`.

        The server that answered last is queried first; if none did, none is queried again.
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
            if _is_usable(answer, name, zone):
                with self._guard:
                    self._replied[zone] = each
                return answer
        with self._guard:
            self._replied[zone] = None
        return None


@dataclass
class _CachedServers:
    """The servers of a zone, found at `since`; one caller at a time looks them up."""

    servers: tuple[NameServer, ...] = ()
    since: float = 0
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)


def name_servers(zone: str, resolver: Resolver) -> tuple[NameServer, ...]:
    """Return all addresses of all authoritative servers of `zone`, each address once, sorted.

    A server whose address cannot be found is left out: the CA's resolver cannot query it either.
    Raises `ChallengeError` if no server is left.
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
            hint="Use a resolver that knows the zone: --dns-resolver ADDRESS[:PORT].",
            code="challenge.dns.zone",
        )
    return tuple(sorted(found.values()))


def _find_zone(
    name: dns.name.Name, answer: dns.message.Message, resolver: Resolver
) -> dns.name.Name:
    """Return the zone of `name` from the `answer` to its SOA query, or from its parents'."""
    current, zone = name, _zone_in(answer, name)
    while zone is None and current != dns.name.root:
        current = current.parent()
        zone = _zone_in(resolver.ask(_text(current), "SOA"), current)
    if zone is None or zone == dns.name.root:
        raise ChallengeError(
            f"the DNS zone of {_text(name)} cannot be found: no name above it has an SOA record",
            hint="Check the name; if its zone is private, use a resolver that knows it:"
            " --dns-resolver ADDRESS[:PORT].",
            code="challenge.dns.zone",
        )
    return zone


def _delegation(
    answer: dns.message.Message, name: dns.name.Name, zone: dns.name.Name
) -> dns.name.Name | None:
    """Return the child zone to which an answer delegates `name`, if any (RFC 1034 §4.3.2)."""
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


def _is_usable(answer: dns.message.Message, name: dns.name.Name, zone: dns.name.Name) -> bool:
    """Whether a server's direct answer is usable; a lame server returns an error or a referral
    upwards.
    """
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


def _follow(answer: dns.message.Message, chain: Sequence[dns.name.Name]) -> list[dns.name.Name]:
    """Return `chain`, extended by the targets of the CNAMEs in `answer`.

    Raises `ChallengeError` for a loop, and for more than `MAX_ALIASES`.
    """
    aliases = {
        rrset.name: rrset[0].target for rrset in _records(answer, dns.rdatatype.CNAME) if rrset
    }
    followed = list(chain)
    while followed[-1] in aliases:
        target = aliases[followed[-1]]
        loop = target in followed
        followed.append(target)
        if loop or len(followed) > MAX_ALIASES + 1:
            raise ChallengeError(
                f"the CNAME chain of {_text(followed[0])} has a loop, or is too long: "
                + " -> ".join(_text(each) for each in followed),
                hint="Point the CNAME directly to the name of the TXT record.",
                code="challenge.dns.alias",
            )
    return followed


def _records(
    answer: dns.message.Message, kind: dns.rdatatype.RdataType
) -> Iterator[dns.rrset.RRset]:
    return (rrset for rrset in answer.answer if rrset.rdtype == kind)


def _text(name: dns.name.Name) -> str:
    return name.canonicalize().to_text(omit_final_dot=True)
