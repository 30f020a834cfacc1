"""Reads the TXT values of a name from every authoritative server, as each has them now.

For records that stand for good, of which somebody else may have written one in words of theirs, so
that it takes reading to tell whether it serves. What the values mean is not known here.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import dns.rcode

from certctl.dns.propagation_state import texts
from certctl.dns.queries import NoReply, query
from certctl.dns.zones import Location, NameServer, Zones

SECONDS = 3.0
_PARALLEL = 16


@dataclass(frozen=True)
class Reading:
    """What one server has: `values` is None where it gave no answer, and `problem` says why."""

    name_server: NameServer
    values: frozenset[str] | None
    problem: str | None = None


def read(name: str, zones: Zones) -> tuple[Location, tuple[Reading, ...]]:
    """Return where the records of `name` stand, past its aliases, and what each server of the zone
    has there. Raises `ChallengeError` where the zone or its servers cannot be found.
    """
    location = zones.locate(name)

    def ask(name_server: NameServer) -> Reading:
        try:
            answer = query(name_server.server, location.name, "TXT", recurse=False, seconds=SECONDS)
        except NoReply as error:
            return Reading(name_server, None, str(error))
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return Reading(name_server, None, f"it answered {dns.rcode.to_text(answer.rcode())}")
        return Reading(name_server, frozenset(texts(answer)))

    with ThreadPoolExecutor(_PARALLEL) as pool:
        return location, tuple(pool.map(ask, zones.name_servers(location.zone)))


def without_unreachable_family(readings: tuple[Reading, ...]) -> tuple[Reading, ...]:
    """Return the readings that count: not those of a family of addresses by which nobody answered,
    where somebody did by the other, since this machine may lack it.
    """
    heard = {each.name_server.server.family for each in readings if each.values is not None}
    return tuple(each for each in readings if not heard or each.name_server.server.family in heard)
