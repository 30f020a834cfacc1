"""Which values servers do not have yet, and which servers an order has to wait for.

Plain values and rules; `propagation` sends the queries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from certctl.dns.queries import NoReply, Server
from certctl.dns.quorum import Quorum
from certctl.dns.split_horizon import other_view
from certctl.dns.zones import NameServer
from certctl.model.errors import PropagationTimeout
from certctl.model.lazy_dataclass import dataclass

_MAX_SHOWN = 8


@dataclass(frozen=True)
class ServerState:
    """What one server of a zone does not have, according to its last answers.

    `missing` has the missing values by name; `problem` is why the last query failed, if it did.
    """

    zone: str
    name_server: NameServer
    missing: Mapping[str, frozenset[str]]
    problem: str | None = None

    def after(self, answers: Mapping[str, dns.message.Message | NoReply]) -> ServerState:
        """Return the state after the server's answers."""
        missing = dict(self.missing)
        problem = None
        for name, values in self.missing.items():
            if name not in answers:
                continue
            answer = answers[name]
            if isinstance(answer, NoReply):
                problem = str(answer)
                continue
            if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                problem = f"it returned {dns.rcode.to_text(answer.rcode())}"
            if absent := values - texts(answer):
                missing[name] = absent
            else:
                del missing[name]
        return replace(self, missing=missing, problem=problem)


def texts(answer: dns.message.Message) -> set[str]:
    """Return the TXT values in an answer, including those at the target of a CNAME."""
    return {
        b"".join(record.strings).decode("ascii", errors="replace")
        for rrset in answer.answer
        if rrset.rdtype == dns.rdatatype.TXT
        for record in rrset
    }


def cache_seconds(answer: dns.message.Message) -> float:
    """Return how many seconds a resolver caches this answer: the TTL of its records, or the
    negative TTL (RFC 2308 §5).
    """
    if answer.answer:
        return min(rrset.ttl for rrset in answer.answer)
    negative = [
        min(rrset.ttl, record.minimum)
        for rrset in answer.authority
        if rrset.rdtype == dns.rdatatype.SOA
        for record in rrset
    ]
    return min(negative, default=0)


def blocking(
    states: Iterable[ServerState], replied: Mapping[Server, bool], quorum: Quorum
) -> list[ServerState]:
    """Return the states of the servers to wait for; empty if a quorum of each zone's servers has
    each value.

    `replied` has the servers that were queried, and whether they ever replied. A machine without
    IPv6 (or IPv4) cannot query servers in that family. So a family in which no server has replied
    is ignored if a server of the other family has.
    """
    zones: dict[str, list[ServerState]] = {}
    for state in states:
        zones.setdefault(state.zone, []).append(state)
    return [
        state
        for some in zones.values()
        for state in _blocking_in_zone(_without_unreachable_family(some, replied), quorum)
        if state.missing
    ]


def _without_unreachable_family(
    states: Sequence[ServerState], replied: Mapping[Server, bool]
) -> list[ServerState]:
    servers = [each.name_server.server for each in states]
    answering = {each.family for each in servers if replied.get(each)}
    unknown = {each.family for each in servers if each not in replied}
    silent = {4, 6} - answering - unknown if answering else set()
    return [each for each in states if each.name_server.server.family not in silent]


def _blocking_in_zone(states: Sequence[ServerState], quorum: Quorum) -> list[ServerState]:
    allowed = len(states) - quorum.of(len(states))
    counts: dict[tuple[str, str], int] = {}
    for state in states:
        for name, values in state.missing.items():
            for value in values:
                counts[name, value] = counts.get((name, value), 0) + 1
    insufficient = {record for record, number in counts.items() if number > allowed}
    blocked: list[ServerState] = []
    for state in states:
        missing = {
            name: still
            for name, values in state.missing.items()
            if (still := frozenset(value for value in values if (name, value) in insufficient))
        }
        blocked.append(replace(state, missing=missing))
    return blocked


def on_no_server(states: Iterable[ServerState]) -> tuple[str, ...]:
    """Return the zones that have a value on none of their servers, sorted."""
    nowhere: dict[str, set[tuple[str, str]]] = {}
    for state in states:
        missing = {(name, value) for name, some in state.missing.items() for value in some}
        nowhere[state.zone] = nowhere.get(state.zone, missing) & missing
    return tuple(sorted(zone for zone, values in nowhere.items() if values))


def authoritative_timeout(
    states: Sequence[ServerState],
    seconds: float,
    quorum: Quorum,
    every: Sequence[ServerState] = (),
) -> PropagationTimeout:
    """Return the error that lists the values that authoritative servers do not have. `states` are
    the servers that were waited for, `every` are all servers.
    """
    nowhere = on_no_server(every or states)
    enough = (
        "not every authoritative server has"
        if str(quorum) == "all"
        else (f"not enough authoritative servers ({quorum} must) have")
    )
    return PropagationTimeout(
        f"after {seconds:.0f} s, {enough} the TXT records: {_described(states)}",
        hint="Wait longer with --dns-propagation-timeout SECONDS, fix the server that lags behind,"
        " or skip the check with --dns-skip-propagation."
        + "".join(f" {other_view(zone)}" for zone in nowhere[:1]),
        on_some=not nowhere,
    )


def resolver_timeout(
    states: Sequence[ServerState], seconds: float, cached: Mapping[str, float]
) -> PropagationTimeout:
    """Return the error for public resolvers that do not have the records yet.

    `cached` has the number of seconds for which each resolver still caches an older answer.
    """
    ages = [
        f"; {resolver} caches an older answer for another {left:.0f} s"
        for resolver, left in cached.items()
        if left > 0
    ]
    return PropagationTimeout(
        f"after {seconds:.0f} s, the authoritative servers have the TXT records, but not every"
        f" public resolver: {_described(states)}{''.join(ages)}",
        hint="Wait longer with --dns-propagation-timeout SECONDS, or leave out"
        " --dns-public-resolver.",
        on_some=True,
    )


def _described(states: Sequence[ServerState]) -> str:
    descriptions = [_describe(state) for state in states]
    more = len(descriptions) - _MAX_SHOWN
    shown = descriptions[:_MAX_SHOWN] + ([f"and {more} more"] if more > 0 else [])
    return "; ".join(shown)


def _describe(state: ServerState) -> str:
    missing = ", ".join(
        f'{name} = "{value}"' for name, values in state.missing.items() for value in sorted(values)
    )
    because = f" ({state.problem})" if state.problem else ""
    return f"{state.name_server} does not have {missing}{because}"
