"""What one solver knows of the DNS, for all orders of a run: zones, their servers, and the wait.

Made from settings alone, which are checked at once; dnspython is imported, and anything asked, when
that is needed.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from certctl.dns.addresses import check_server
from certctl.dns.quorum import parse_quorum
from certctl.models import ChallengeSpec
from certctl.ports import Clock

if TYPE_CHECKING:
    from certctl.dns.propagation import Propagation
    from certctl.dns.zones import Zones


class DnsLookups:
    """The zones and the wait of one solver; its members may be used by several threads.

    Raises `ConfigurationError` for a quorum or the address of a resolver that makes no sense.
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

    @property
    def zones(self) -> Zones:
        """Where records belong. Raises `ChallengeError` where this machine has no resolver."""
        from certctl.dns.resolver import Resolver  # noqa: PLC0415 - dnspython is slow to import
        from certctl.dns.zones import Zones  # noqa: PLC0415 - as above

        with self._guard:
            if self._zones is None:
                asked = Resolver(self._challenge.dns_resolver, self._stop)
                direct = not self._challenge.dns_skip_propagation
                self._zones = Zones(asked, self._clock, direct=direct)
            return self._zones

    @property
    def propagation(self) -> Propagation:
        """The wait until records can be seen. Raises as `zones` does."""
        from certctl.dns import propagation, resolver  # noqa: PLC0415 - as above

        with self._guard:
            if self._propagation is None:
                patience = propagation.WaitPolicy(
                    self._challenge.dns_propagation_timeout,
                    self._quorum,
                    tuple(map(resolver.parse_server, self._challenge.dns_public_resolvers)),
                )
                self._propagation = propagation.Propagation(
                    self.zones, patience, clock=self._clock, stop=self._stop
                )
            return self._propagation

    def close(self) -> None:
        """Ask nobody any more; safe to call twice."""
        with self._guard:
            if self._propagation is not None:
                self._propagation.close()
