"""The DNS lookups that all orders of a solver share: zones, their servers, and propagation.

Settings are validated at creation; dnspython is imported, and queries are sent, only when needed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from certctl.dns import propagation, resolver
from certctl.dns.addresses import check_server
from certctl.dns.quorum import parse_quorum
from certctl.dns.resolver import Resolver
from certctl.dns.zones import Zones
from certctl.model.ports import Clock
from certctl.model.spec import ChallengeSpec
from certctl.model.validation import Placement, Task

if TYPE_CHECKING:
    from certctl.dns.propagation import Propagation
    from certctl.dns.zones import Zones


class DnsLookups:
    """The zones and the propagation wait of one solver. Thread-safe.

    Raises `ConfigurationError` for an invalid quorum or resolver address.
    """

    def __init__(self, challenge: ChallengeSpec, clock: Clock, stop: threading.Event) -> None:
        self._challenge = challenge
        self._clock = clock
        self._stop = stop
        self._quorum = parse_quorum(challenge.dns_propagation_quorum)
        for each in (challenge.dns_resolver, *challenge.dns_public_resolvers):
            if each is not None:
                check_server(each)
        self._guard = threading.RLock()
        self._zones: Zones | None = None
        self._propagation: Propagation | None = None
        self._deadlines: dict[str, float | None] = {}

    def note_deadline(self, task: Task) -> None:
        """Remember when the order of a task is given up."""
        with self._guard:
            self._deadlines[task.certificate] = task.deadline

    def deadline(self, placements: Iterable[Placement]) -> float | None:
        """Return when the first of the orders of these placements is given up, None if none is."""
        names = {each.certificate for each in placements}
        with self._guard:
            noted = [self._deadlines.get(each) for each in names]
        return min((each for each in noted if each is not None), default=None)

    @property
    def zones(self) -> Zones:
        """Finds the zones of records. Raises `ChallengeError` if this machine has no resolver."""
        with self._guard:
            if self._zones is None:
                chosen = Resolver(self._challenge.dns_resolver, self._stop)
                self._zones = Zones(
                    chosen,
                    self._clock,
                    follow=self._challenge.dns_follow_cname,
                    # Nobody waits for the record then, so a resolver must not have its absence in
                    # its cache: the CA may use the same one.
                    spare_resolver=self._challenge.dns_skip_propagation,
                )
            return self._zones

    @property
    def propagation(self) -> Propagation:
        """The wait until records are published. Raises `ChallengeError`, like `zones`."""
        with self._guard:
            if self._propagation is None:
                policy = propagation.WaitPolicy(
                    self._challenge.dns_propagation_timeout,
                    self._quorum,
                    tuple(map(resolver.parse_server, self._challenge.dns_public_resolvers)),
                )
                self._propagation = propagation.Propagation(
                    self.zones, policy, clock=self._clock, stop=self._stop
                )
            return self._propagation

    def close(self) -> None:
        """Stop all queries; safe to call twice."""
        with self._guard:
            if self._propagation is not None:
                self._propagation.close()
