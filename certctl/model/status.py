"""The current state of a certificate.

Frozen dataclasses of standard-library types. All times are timezone-aware UTC, all durations are
in seconds.
"""

from __future__ import annotations

from certctl.model.certificate import RenewalState, Version
from certctl.model.delivery import THIS_MACHINE, Deployment
from certctl.model.lazy_dataclass import dataclass


@dataclass(frozen=True)
class CertificateStatus:
    """The current state of a certificate.

    `deployments` has at most one element for each destination. `wanted_not_live` is the wanted
    version if another one is live: because its deploy failed and was rolled back, or because the
    run was interrupted. `waiting` is a newer version that is archived until its deploy window
    opens, `served` the version that was deployed last. `damage` says what is wrong with the files
    of the live version, None if they are intact.
    """

    name: str
    live: Version | None
    deployments: tuple[Deployment, ...]
    renewal_state: RenewalState
    wanted_not_live: Version | None = None
    damage: str | None = None
    waiting: Version | None = None
    served: Version | None = None

    @property
    def current(self) -> Version | None:
        """The newest version that is to be served: live, or to be made live. It is the one that is
        renewed.
        """
        return self.waiting or self.wanted_not_live or self.live

    @property
    def deployment(self) -> Deployment:
        """The deployment on this machine."""
        found = (each for each in self.deployments if each.destination == THIS_MACHINE)
        return next(found, Deployment())

    @property
    def undeployed(self) -> bool:
        """Whether the wanted version is not live, or not deployed at a destination yet."""
        wanted = self.deployment.wanted
        if wanted is not None and (self.live is None or self.live.number != wanted):
            return True
        return any(each.deployed != each.wanted for each in self.deployments if each.wanted)
