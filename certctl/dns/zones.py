"""Finds the location of a TXT record: its name after CNAMEs, its zone, and the zone's servers."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from certctl.dns.queries import NoReply, Server, query
from certctl.dns.record_names import check_name
from certctl.dns.resolver import Resolver, TimeLimit
from certctl.dns.split_horizon import other_view
from certctl.model.errors import ChallengeError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.ports import Clock

CACHE_SECONDS = 300.0
LOCATE_SECONDS = 60.0
SERVERS_SECONDS = 20.0
DIRECT_SECONDS = 1.5
MAX_ALIASES = 16
MAX_NAME_SERVERS = 32
"""Name servers of a zone that are queried; more are ignored: a zone must not hold up a run."""
MAX_ADDRESSES = 4
"""Addresses of a name server in each family that are queried."""
MAX_DIRECT = 16
"""Servers that are tried for an answer before the resolver is used."""

_PARALLEL_LOOKUPS = 32
_MAX_PROBLEMS = 3
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
    If none of the servers can be reached, the resolver is used, unless `spare_resolver` is set:
    then a CNAME is not seen. Without `follow`, CNAMEs are not followed.
    """

    def __init__(
        self,
        resolver: Resolver,
        clock: Clock,
        *,
        follow: bool = True,
        spare_resolver: bool = False,
    ) -> None:
        self._resolver = resolver
        self._clock = clock
        self._follow = follow
        self._spare_resolver = spare_resolver
        self._guard = threading.Lock()
        self._cuts: dict[dns.name.Name, float] = {}
        self._servers: dict[str, _CachedServers] = {}
        self._replied: dict[dns.name.Name, NameServer | None] = {}

    def locate(self, name: str, deadline: float | None = None) -> Location:
        """Return where the record for `name` has to be written, after following CNAMEs.

        A CNAME that a wildcard stands for is not followed: the record itself takes precedence over
        it (RFC 4592 §2.2.1). Raises `ChallengeError`, also at the `deadline`, a time of the clock's
        `monotonic`, and after `LOCATE_SECONDS`.
        """
        limit = TimeLimit.until(self._clock, LOCATE_SECONDS, deadline)
        check_name(name)
        chain = [dns.name.from_text(name)]
        while True:
            zone, answer = self._ask(chain[-1], limit, spare=self._spare_resolver)
            longer = self._followed(answer, chain, limit)
            if longer == chain:
                if _target(answer, chain[-1]) is not None:
                    zone = self._zone_of_alias(chain[-1], limit)
                self._remember_cut(zone)
                check_name(_text(chain[-1]))
                return Location(_text(chain[-1]), _text(zone))
            chain = longer

    def name_servers(self, zone: str, deadline: float | None = None) -> tuple[NameServer, ...]:
        """Return the servers of `zone`; concurrent callers wait for the same lookup. Raises
        `ChallengeError`, also at the `deadline`.
        """
        return self._name_servers(zone, TimeLimit.until(self._clock, SERVERS_SECONDS, deadline))

    def _name_servers(self, zone: str, limit: TimeLimit) -> tuple[NameServer, ...]:
        with self._guard:
            found = self._servers.setdefault(zone, _CachedServers())
        with found.one_at_a_time:
            now = self._clock.monotonic()
            if not found.servers or now - found.since >= CACHE_SECONDS:
                limit = limit.at_most(SERVERS_SECONDS)
                found.servers, found.since = name_servers(zone, self._resolver, limit), now
            return found.servers

    def _followed(
        self,
        answer: dns.message.Message | None,
        chain: Sequence[dns.name.Name],
        limit: TimeLimit,
    ) -> list[dns.name.Name]:
        """Return `chain`, extended by the targets of the CNAMEs in `answer`, up to the first that
        is not to be followed. Raises `ChallengeError` for a loop, and for too long a chain.
        """
        followed = list(chain)
        while self._follow and (target := _target(answer, followed[-1])) is not None:
            if self._is_synthesised(followed[-1], target, limit):
                break
            followed = _extended(followed, target)
        return followed

    def _is_synthesised(self, name: dns.name.Name, target: dns.name.Name, limit: TimeLimit) -> bool:
        """Return whether the CNAME of `name` comes from a wildcard (RFC 4592 §3.3).

        Then a random name beside it has the same target, unlike with a DNAME. If the CNAME of
        `name` is a record of its own that happens to have the wildcard's target, a random name
        below it does not: the wildcard does not apply below a name that exists.
        """
        if len(name) <= _ONE_LABEL or self._target_of(_random_name(name.parent()), limit) != target:
            return False
        try:
            below = _random_name(name)
        except dns.name.NameTooLong:
            return True
        try:
            return self._target_of(below, limit, required=True) == target
        except ChallengeError:
            return True

    def _target_of(
        self, name: dns.name.Name, limit: TimeLimit, *, required: bool = False
    ) -> dns.name.Name | None:
        """Return the target of the CNAME at `name`, None if there is none, or if there is no answer
        and none is `required`.
        """
        try:
            _, answer = self._answer_of_servers(name, limit)
            if answer is None:
                answer = self._resolver.ask(_text(name), "CNAME", limit)
        except ChallengeError:
            if required:
                raise
            return None
        return _target(answer, name)

    def _zone_of_alias(self, name: dns.name.Name, limit: TimeLimit) -> dns.name.Name:
        """Return the zone of a name that is an alias, from the names above it: the answer for the
        alias may have the SOA record of another zone, or none.
        """
        above = name
        while len(above) > _ONE_LABEL:
            above = above.parent()
            zone, answer = self._ask(above, limit)
            if _target(answer, above) is None:
                return zone
        raise _zone_not_found(name)

    def _ask(
        self, name: dns.name.Name, limit: TimeLimit, *, spare: bool = False
    ) -> tuple[dns.name.Name, dns.message.Message | None]:
        """Return the zone of `name`, and the answer for it, None if it could not be asked without
        the resolver, and that is to be spared; the zone is valid only if the answer is not a CNAME.
        """
        zone, answer = self._answer_of_servers(name, limit)
        if zone is not None and (answer is not None or spare):
            return zone, answer
        if spare:
            return _find_zone(name, None, self._resolver, limit), None
        # One query returns the CNAME (RFC 1034 §3.6.2) or, if there is none, the zone: a negative
        # answer has its SOA record, too (RFC 2308 §3).
        answer = self._resolver.ask(_text(name), "SOA", limit)
        if _target(answer, name) is not None:
            return name, answer
        return _find_zone(name, answer, self._resolver, limit), answer

    def _answer_of_servers(
        self, name: dns.name.Name, limit: TimeLimit
    ) -> tuple[dns.name.Name | None, dns.message.Message | None]:
        """Return the zone of `name` and the answer of its servers; no answer if none of them can be
        queried, and no zone if none is known.
        """
        zone = self._zone_above(name, limit)
        while zone is not None:
            answer = self._ask_servers(zone, name, limit)
            if answer is None:
                return zone, None
            if cut := _delegation(answer, name, zone):
                zone = cut
                continue
            return _zone_in(answer, name) or zone, answer
        return None, None

    def _zone_above(self, name: dns.name.Name, limit: TimeLimit) -> dns.name.Name | None:
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
            answer = self._resolver.ask(_text(parent), "SOA", limit)
            zone = _find_zone(parent, answer, self._resolver, limit)
        except ChallengeError:
            return None
        self._remember_cut(zone)
        return zone

    def _remember_cut(self, zone: dns.name.Name) -> None:
        with self._guard:
            self._cuts[zone] = self._clock.monotonic()

    def _ask_servers(
        self, zone: dns.name.Name, name: dns.name.Name, limit: TimeLimit
    ) -> dns.message.Message | None:
        """Return the first usable answer for `name` from the servers of `zone`.

        The server that answered last is queried first, and the others only if it does not answer,
        side by side; if none did, none is queried again.
        """
        with self._guard:
            if zone in self._replied and self._replied[zone] is None:
                return None
            last = self._replied.get(zone)
        try:
            servers = self._name_servers(_text(zone), limit)
        except ChallengeError:
            servers = ()
        by_choice = sorted(servers, key=lambda one: (one != last, one.server.family, one))
        for some in (by_choice[:1], by_choice[1:MAX_DIRECT]):
            self._resolver.check()
            limit.check(_text(name))
            for server, answer in _side_by_side(some, _text(name), limit):
                if answer is not None and _is_usable(answer, name, zone):
                    with self._guard:
                        self._replied[zone] = server
                    return answer
        with self._guard:
            self._replied[zone] = None
        return None


def _side_by_side(
    servers: Sequence[NameServer], name: str, limit: TimeLimit
) -> list[tuple[NameServer, dns.message.Message | None]]:
    """Return the answers of all servers, which are queried at the same time."""
    seconds = limit.of(DIRECT_SECONDS)

    def ask(name_server: NameServer) -> dns.message.Message | None:
        try:
            return query(name_server.server, name, "SOA", recurse=False, seconds=seconds)
        except NoReply:
            return None

    if len(servers) <= 1:
        return [(each, ask(each)) for each in servers]
    with ThreadPoolExecutor(len(servers)) as pool:
        return list(zip(servers, pool.map(ask, servers), strict=True))


@dataclass
class _CachedServers:
    """The servers of a zone, found at `since`; one caller at a time looks them up."""

    servers: tuple[NameServer, ...] = ()
    since: float = 0
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)


def name_servers(
    zone: str, resolver: Resolver, limit: TimeLimit | None = None
) -> tuple[NameServer, ...]:
    """Return the addresses of the authoritative servers of `zone`, each address once, sorted.

    A server whose address cannot be found is left out: the CA's resolver cannot query it either. Of
    more than `MAX_NAME_SERVERS`, the first are used, and at most `MAX_ADDRESSES` of each. Raises
    `ChallengeError` if no server is left.
    """
    apex = dns.name.from_text(zone)
    hosts = sorted(
        _text(record.target)
        for rrset in _records(resolver.ask(zone, "NS", limit), dns.rdatatype.NS)
        if rrset.name == apex
        for record in rrset
    )[:MAX_NAME_SERVERS]
    problems: list[str] = []

    def addresses(question: tuple[str, str]) -> list[NameServer]:
        host, kind = question
        try:
            answer = resolver.ask(host, kind, limit)
        except ChallengeError as error:
            problems.append(error.message)
            return []
        found = [
            str(record.address)
            for rrset in _records(answer, dns.rdatatype.from_text(kind))
            for record in rrset
        ]
        return [
            NameServer(host, resolver.server_at(each)) for each in sorted(found)[:MAX_ADDRESSES]
        ]

    questions = [(host, kind) for host in hosts for kind in ("A", "AAAA")]
    with ThreadPoolExecutor(_PARALLEL_LOOKUPS) as pool:
        found = {each.server: each for some in pool.map(addresses, questions) for each in some}
    if not found:
        shown = problems[:_MAX_PROBLEMS]
        more = len(problems) - len(shown)
        raise ChallengeError(
            f"no authoritative server of the zone {zone} can be found"
            + "".join(f"; {problem}" for problem in shown)
            + (f"; and {more} more" if more else ""),
            hint=other_view(zone),
            code="challenge.dns.zone",
        )
    return tuple(sorted(found.values()))


def _find_zone(
    name: dns.name.Name,
    answer: dns.message.Message | None,
    resolver: Resolver,
    limit: TimeLimit | None,
) -> dns.name.Name:
    """Return the zone of `name` from the `answer` to its SOA query, or from its parents'."""
    current, zone = name, _zone_in(answer, name)
    while zone is None and current != dns.name.root:
        current = current.parent()
        zone = _zone_in(resolver.ask(_text(current), "SOA", limit), current)
    if zone is None or zone == dns.name.root:
        raise _zone_not_found(name)
    return zone


def _zone_not_found(name: dns.name.Name) -> ChallengeError:
    return ChallengeError(
        f"the DNS zone of {_text(name)} cannot be found: no name above it has an SOA record",
        hint="Check the name; if its zone is private, use a resolver that knows it:"
        " --dns-resolver ADDRESS[:PORT].",
        code="challenge.dns.zone",
    )


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


def _target(answer: dns.message.Message | None, name: dns.name.Name) -> dns.name.Name | None:
    """Return the target of `name` in an answer, if it is an alias: by a CNAME record, or by the
    DNAME record of a name above it (RFC 6672).
    """
    if answer is None:
        return None
    for rrset in _records(answer, dns.rdatatype.CNAME):
        if rrset.name == name and rrset:
            target: dns.name.Name = rrset[0].target
            return target
    for rrset in _records(answer, dns.rdatatype.DNAME):
        if rrset.name != name and name.is_subdomain(rrset.name) and rrset:
            return _in_place_of(name, rrset.name, rrset[0].target)
    return None


def _in_place_of(name: dns.name.Name, owner: dns.name.Name, target: dns.name.Name) -> dns.name.Name:
    try:
        return name.relativize(owner).concatenate(target)
    except dns.name.NameTooLong as error:
        raise ChallengeError(
            f"{_text(name)} is redirected to a name that is too long, by the DNAME record of"
            f" {_text(owner)}",
            hint="Use a shorter target for the DNAME record.",
            code="challenge.dns.alias",
        ) from error


def _random_name(parent: dns.name.Name) -> dns.name.Name:
    """Return a name below `parent` that surely has no records of its own."""
    return dns.name.Name((secrets.token_hex(8).encode(), *parent.labels))


def _zone_in(answer: dns.message.Message | None, name: dns.name.Name) -> dns.name.Name | None:
    """Return the zone of `name` from an answer, None if that does not say it. The SOA record in the
    answer for an alias is that of its target.
    """
    if answer is None or _target(answer, name) is not None:
        return None
    owners = [
        rrset.name
        for rrset in (*answer.answer, *answer.authority)
        if rrset.rdtype == dns.rdatatype.SOA and name.is_subdomain(rrset.name)
    ]
    return max(owners, key=len, default=None)


def _extended(chain: Sequence[dns.name.Name], target: dns.name.Name) -> list[dns.name.Name]:
    """Return `chain` with one more target. Raises `ChallengeError` for a loop, and for more than
    `MAX_ALIASES`.
    """
    followed = [*chain, target]
    if target in chain or len(followed) > MAX_ALIASES + 1:
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
