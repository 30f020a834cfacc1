"""What servers were seen to lack, and whether that stands in the way of going on.

Plain values and rules; who asks the servers, and when, is for `propagation` to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from certctl.dns.queries import NoReply, Server
from certctl.dns.quorum import Quorum
from certctl.dns.zones import NameServer
from certctl.errors import PropagationTimeout

_SHOWN_LACKS = 8


@dataclass(frozen=True)
class ServerState:
    """What one server of one zone was last seen to lack.

    `missing` has the values by name that it was not seen to have yet, `problem` why that could not
    be told.
    """

    zone: str
    name_server: NameServer
    missing: Mapping[str, frozenset[str]]
    problem: str | None = None

    def after(self, answers: Mapping[str, dns.message.Message | NoReply]) -> ServerState:
        """Return the look with what the server's answers say of what it lacked."""
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
                problem = f"it answered {dns.rcode.to_text(answer.rcode())}"
            if absent := values - texts(answer):
                missing[name] = absent
            else:
                del missing[name]
        return replace(self, missing=missing, problem=problem)


def texts(answer: dns.message.Message) -> set[str]:
    """Return the TXT values in an answer, also of the name that an alias led a resolver to."""
    return {
        b"".join(record.strings).decode("ascii", errors="replace")
        for rrset in answer.answer
        if rrset.rdtype == dns.rdatatype.TXT
        for record in rrset
    }


def cache_seconds(answer: dns.message.Message) -> float:
    """Return how long a resolver will give this answer again: the TTL of its records, or that of
    there being none (RFC 2308 §5).
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
    looks: Iterable[ServerState], replied: Mapping[Server, bool], quorum: Quorum
) -> list[ServerState]:
    """Return the looks that stand in the way; none where each value is at a quorum of each zone.

    `replied` tells of the servers that have been asked whether they ever replied. A machine without
    IPv6 (or IPv4) cannot ask a zone's servers by it. So where no address of one family ever
    replied, that family is not counted, if one of the other did.
    """
    zones: dict[str, list[ServerState]] = {}
    for look in looks:
        zones.setdefault(look.zone, []).append(look)
    return [
        look
        for some in zones.values()
        for look in _lacking_in_zone(_counted(some, replied), quorum)
        if look.missing
    ]


def _counted(looks: Sequence[ServerState], replied: Mapping[Server, bool]) -> list[ServerState]:
    servers = [each.name_server.server for each in looks]
    heard = {each.family for each in servers if replied.get(each)}
    unknown = {each.family for each in servers if each not in replied}
    silent = {4, 6} - heard - unknown if heard else set()
    return [each for each in looks if each.name_server.server.family not in silent]


def _lacking_in_zone(looks: Sequence[ServerState], quorum: Quorum) -> list[ServerState]:
    allowed = len(looks) - quorum.of(len(looks))
    lacks: dict[tuple[str, str], int] = {}
    for look in looks:
        for name, values in look.missing.items():
            for value in values:
                lacks[name, value] = lacks.get((name, value), 0) + 1
    wanting = {record for record, number in lacks.items() if number > allowed}
    kept: list[ServerState] = []
    for look in looks:
        missing = {
            name: still
            for name, values in look.missing.items()
            if (still := frozenset(value for value in values if (name, value) in wanting))
        }
        kept.append(replace(look, missing=missing))
    return kept


def authoritative_timeout(
    looks: Sequence[ServerState], seconds: float, quorum: Quorum
) -> PropagationTimeout:
    """Return the error that says which authoritative servers lack what after so many seconds."""
    enough = (
        "not every authoritative server has"
        if str(quorum) == "all"
        else (f"not enough authoritative servers ({quorum} must) have")
    )
    return PropagationTimeout(
        f"after {seconds:.0f} s, {enough} the TXT records: {_described(looks)}",
        hint="Give the servers more time with --dns-propagation-timeout SECONDS, mend the one that"
        " lags behind, or do not ask them with --dns-skip-propagation.",
    )


def resolver_timeout(
    looks: Sequence[ServerState], seconds: float, kept: Mapping[str, float]
) -> PropagationTimeout:
    """Return the error for public resolvers that do not show what the authoritative servers have.

    `kept` says for how many seconds a resolver, as text, will go on giving an older answer.
    """
    ages = [
        f"; {resolver} gives an older answer for another {left:.0f} s"
        for resolver, left in kept.items()
        if left > 0
    ]
    return PropagationTimeout(
        f"after {seconds:.0f} s, the authoritative servers have the TXT records, but not every"
        f" resolver that was named: {_described(looks)}{''.join(ages)}",
        hint="Give them more time with --dns-propagation-timeout SECONDS, or leave out"
        " --dns-public-resolver.",
    )


def _described(looks: Sequence[ServerState]) -> str:
    lacks = [_describe(look) for look in looks]
    more = len(lacks) - _SHOWN_LACKS
    shown = lacks[:_SHOWN_LACKS] + ([f"and {more} more"] if more > 0 else [])
    return "; ".join(shown)


def _describe(look: ServerState) -> str:
    missing = ", ".join(
        f'{name} = "{value}"' for name, values in look.missing.items() for value in sorted(values)
    )
    because = f" ({look.problem})" if look.problem else ""
    return f"{look.name_server} lacks {missing}{because}"
