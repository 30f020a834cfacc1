"""Reads the current TXT values of a name from all authoritative servers.

For persistent records (dns-persist-01), which users may have written in a different but equivalent
form. The caller interprets the values.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import dns.rcode

from certctl.dns.propagation_state import texts
from certctl.dns.queries import NoReply, query
from certctl.dns.zones import Location, NameServer, Zones
from certctl.model.lazy_dataclass import dataclass

SECONDS = 3.0
_PARALLEL = 32


@dataclass(frozen=True)
class Reading:
    """The values on one server; `values` is None if it did not answer, and `problem` states why."""

    name_server: NameServer
    values: frozenset[str] | None
    problem: str | None = None


def read(
    name: str, zones: Zones, deadline: float | None = None
) -> tuple[Location, tuple[Reading, ...]]:
    """Return the location of the records of `name`, after following CNAMEs, and the values on each
    server of the zone. Raises `ChallengeError` if the zone or its servers cannot be found, also by
    the `deadline`.
    """
    location = zones.locate(name, deadline)

    def ask(name_server: NameServer) -> Reading:
        try:
            answer = query(name_server.server, location.name, "TXT", recurse=False, seconds=SECONDS)
        except NoReply as error:
            return Reading(name_server, None, str(error))
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return Reading(name_server, None, f"it returned {dns.rcode.to_text(answer.rcode())}")
        return Reading(name_server, frozenset(texts(answer)))

    with ThreadPoolExecutor(_PARALLEL) as pool:
        return location, tuple(pool.map(ask, zones.name_servers(location.zone, deadline)))


def without_unreachable_family(readings: tuple[Reading, ...]) -> tuple[Reading, ...]:
    """Return the readings without those of an address family (IPv4 or IPv6) in which no server
    answered, if a server of the other family did: this machine may not have that family.
    """
    answering = {each.name_server.server.family for each in readings if each.values is not None}
    return tuple(
        each for each in readings if not answering or each.name_server.server.family in answering
    )
