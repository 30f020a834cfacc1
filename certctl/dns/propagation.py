"""Whether every authoritative server has the TXT records: asked directly, so that no cache lies.

A CA may ask any of them, and many ask several (multi-perspective validation), so that one server
which lags behind is enough to fail.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from certctl.dns.queries import NoReply, query
from certctl.dns.resolver import Resolver
from certctl.dns.zones import NameServer, name_servers
from certctl.errors import Interrupted, PropagationTimeout
from certctl.models import TxtRecord
from certctl.ports import Clock

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0
QUERY_SECONDS = 2.0
_PARALLEL_QUERIES = 32
_SHOWN_LACKS = 8


@dataclass(frozen=True)
class Look:
    """What one server of one zone was last seen to lack.

    `missing` has the values by name that it was not seen to have yet, `problem` why that could not
    be told, `replied` whether it ever gave an answer.
    """

    zone: str
    name_server: NameServer
    missing: Mapping[str, frozenset[str]]
    problem: str | None = None
    replied: bool = False


def wait_until_seen(
    records: Sequence[TxtRecord],
    resolver: Resolver,
    *,
    timeout: float,
    clock: Clock,
    stop: threading.Event,
) -> None:
    """Return once every authoritative server of each zone answers with every value.

    Looks at once, then again after growing pauses, for `timeout` seconds. Raises
    `PropagationTimeout` saying which server lacks what, `ChallengeError` where the servers cannot
    be found, and `Interrupted`.
    """
    started = clock.monotonic()
    pause = FIRST_PAUSE
    looks = _first_looks(records, resolver)
    with ThreadPoolExecutor(_PARALLEL_QUERIES) as pool:
        while True:
            looks = list(pool.map(lambda look: _look_again(look, stop), looks))
            open_looks = lacking(looks)
            if not open_looks:
                return
            spent = clock.monotonic() - started
            if spent >= timeout:
                raise _timed_out(open_looks, spent)
            if clock.wait(stop, min(pause, timeout - spent)):
                raise Interrupted("stopped while waiting for the DNS")
            pause = min(2 * pause, LONGEST_PAUSE)


def lacking(looks: Sequence[Look]) -> list[Look]:
    """Return the looks that stand in the way.

    A machine without IPv6 (or IPv4) cannot ask a zone's servers by it. So where no address of one
    family ever replied, that family is not counted, if those of the other one have everything.
    """
    replied = {(each.zone, each.name_server.server.family) for each in looks if each.replied}

    def counts(look: Look) -> bool:
        family = look.name_server.server.family
        other = 4 if family == 6 else 6
        return (look.zone, family) in replied or (look.zone, other) not in replied

    return [each for each in looks if each.missing and counts(each)]


def _first_looks(records: Iterable[TxtRecord], resolver: Resolver) -> list[Look]:
    wanted: dict[str, dict[str, frozenset[str]]] = {}
    for record in records:
        values = wanted.setdefault(record.zone, {})
        values[record.name] = values.get(record.name, frozenset()) | {record.value}
    with ThreadPoolExecutor(_PARALLEL_QUERIES) as pool:
        servers = pool.map(lambda zone: name_servers(zone, resolver), wanted)
        return [
            Look(zone, name_server, missing)
            for (zone, missing), found in zip(wanted.items(), servers, strict=True)
            for name_server in found
        ]


def _look_again(look: Look, stop: threading.Event) -> Look:
    """Ask the server for all that it still lacks. One that does not reply is asked no further."""
    missing = dict(look.missing)
    problem = None
    for name, values in look.missing.items():
        if stop.is_set():
            break
        try:
            answer = query(
                look.name_server.server, name, "TXT", recurse=False, seconds=QUERY_SECONDS
            )
        except NoReply as error:
            return replace(look, missing=missing, problem=str(error))
        look = replace(look, replied=True)
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            problem = f"it answered {dns.rcode.to_text(answer.rcode())}"
        absent = values - _texts(answer, name)
        if absent:
            missing[name] = absent
        else:
            del missing[name]
    return replace(look, missing=missing, problem=problem)


def _texts(answer: dns.message.Message, name: str) -> set[str]:
    wanted = dns.name.from_text(name)
    return {
        b"".join(record.strings).decode("ascii", errors="replace")
        for rrset in answer.answer
        if rrset.rdtype == dns.rdatatype.TXT and rrset.name == wanted
        for record in rrset
    }


def _timed_out(looks: Sequence[Look], seconds: float) -> PropagationTimeout:
    lacks = [_describe(look) for look in looks]
    more = len(lacks) - _SHOWN_LACKS
    shown = lacks[:_SHOWN_LACKS] + ([f"and {more} more"] if more > 0 else [])
    return PropagationTimeout(
        f"after {seconds:.0f} s, not every authoritative server has the TXT records: "
        + "; ".join(shown),
        hint="Give the servers more time with --dns-propagation-timeout SECONDS, mend the one that"
        " lags behind, or do not ask them with --dns-skip-propagation.",
    )


def _describe(look: Look) -> str:
    missing = ", ".join(
        f'{name} = "{value}"' for name, values in look.missing.items() for value in sorted(values)
    )
    because = f" ({look.problem})" if look.problem else ""
    return f"{look.name_server} lacks {missing}{because}"
