"""The current state of certificates that are not held, for commands that only read."""

from __future__ import annotations

from datetime import datetime

from certctl.engine.services import Services
from certctl.model.status import CertificateStatus
from certctl.rules.current_state import current_state
from certctl.store.machine import CertificateMachine, OnMachine
from certctl.store.records import Stored


def summary_of(name: str, services: Services) -> Stored:
    """Return what is stored about a certificate, without private keys."""
    return services.records.summaries((name,)).get(name) or Stored(name)


def current_state_of(name: str, services: Services) -> CertificateStatus:
    """Return the current state of a certificate on this machine."""
    machine = services.machine
    return state_of(summary_of(name, services), machine.read(name), machine, services.clock.now())


def state_of(
    stored: Stored, here: OnMachine, machine: CertificateMachine, now: datetime
) -> CertificateStatus:
    """Return the current state of a certificate, of which `stored` and `here` were read.

    State that cannot be read is rebuilt from the versions, and the certificate then counts as not
    deployed.
    """
    live = None if here.live is None else stored.versions.get(here.live)
    return current_state(
        stored.name,
        stored.versions,
        stored.renewal_state,
        stored.saved_at,
        here.live,
        here.deployments,
        now,
        None if live is None else machine.damage(live),
    )
