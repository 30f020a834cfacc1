"""What a command wants of certificates, and the plans for them.

A `Change` is made without a lock and becomes a plan under it, so that no concurrent change is lost.
Until something is due, nothing is imported that orders or deploys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from certctl.engine.delivery.live_version import activate_wanted
from certctl.engine.held import Held
from certctl.engine.run import Run
from certctl.engine.specs import refusal_of_untrusted
from certctl.model.certificate import Afterwards
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import CertificateSpec
from certctl.rules.plan import AskRenewalInfo, Plan, Wanted, plan


@dataclass(frozen=True)
class Change:
    """What a command wants of the certificate `name`.

    `plan` makes its plan. `by_hand`: a person waits for this certificate, so that the lock is
    waited for, and errors before the first step are raised. `patient`: the lock is waited for, but
    whatever goes wrong concerns this certificate alone. `csr` is a signing request given with
    the command.
    """

    name: str
    plan: Callable[[Held, Run], Plan]
    by_hand: bool = False
    patient: bool = False
    dry_run: bool = False
    csr: bytes | None = None


@dataclass(frozen=True)
class Upkeep:
    """Plans what a certificate needs to be as its spec says: issue, edit and renew.

    `spec` returns the spec that it should have, from the saved one. `force`: order even if nothing
    is due, `force_stopped` even if its renewal is turned off. Unless `deploys_changes`, changed
    options of the deployment wait for the next version. `ignore_windows`: what waits for a window
    is done now.
    """

    spec: Callable[[Held], CertificateSpec]
    force: bool = False
    force_stopped: bool = False
    by_hand: bool = False
    interval: timedelta | None = None
    deploys_changes: bool = True
    ignore_windows: bool = False

    def __call__(self, held: Held, run: Run) -> Plan:
        """Return the plan; asks the CA for its renewal window (ARI) if that is due."""
        activate_wanted(held, run, respect_backoff=not self.by_hand)
        if self.by_hand:
            _keep(held)
        spec = self.spec(held)
        force = self.force and (spec.autorenew or self.force_stopped)
        wanted = Wanted(
            spec,
            held.saved,
            force=force,
            by_hand=self.by_hand,
            interval=self.interval,
            refusal=None if force else refusal_of_untrusted(spec, held.live),
            deploys_changes=self.deploys_changes,
            ignore_windows=self.ignore_windows,
        )
        wanted = with_attempts(wanted, held, run)
        found = plan(wanted, held.status, run.services.clock.now())
        current = held.status.current
        if found.step(AskRenewalInfo) is None or current is None:
            return found
        from certctl.engine.order.ari import ask_for_renewal_info  # noqa: PLC0415 - most runs ask no CA

        held.carry(ask_for_renewal_info(spec, current, held.renewal_state, run))
        return plan(wanted, held.status, run.services.clock.now())


def with_attempts(wanted: Wanted, held: Held, run: Run) -> Wanted:
    """Return what is wanted, with the orders in progress and the CAs that failed in this run."""
    timeout = timedelta(seconds=run.services.settings.seconds("order_timeout"))
    return replace(wanted, pending=held.pending, order_timeout=timeout, failed=dict(held.failed))


def _keep(held: Held) -> None:
    """Keep a certificate that is issued again: what is still to be revoked is replaced, not deleted
    or stopped.
    """
    state = held.renewal_state
    intents = tuple(replace(each, afterwards=Afterwards.REPLACE) for each in state.revocations)
    if intents != state.revocations:
        held.carry(replace(state, revocations=intents))


def saved_spec(held: Held) -> CertificateSpec:
    """Return the spec as it is."""
    return held.spec
