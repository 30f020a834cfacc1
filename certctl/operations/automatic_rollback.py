"""Fallback: the version before is put back where what came after it was refused.

Only where the spec asks for it (`on_failure = "rollback"`), only for a version that may still be
served, and only if the same tests hold with it. The newer version stays the target, so that it is
owed and tried again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from certctl.errors import CertctlError
from certctl.models import OnFailure, Version
from certctl.operations.deploy_steps import (
    Rollout,
    apply_step,
    pack,
    place,
    reload,
    run_deploy_hooks,
    test,
)
from certctl.operations.live_check import check_live
from certctl.operations.run import Run


@dataclass(frozen=True)
class RollbackResult:
    """What became of a shipment that was refused: `back` is the version before, deployed, or None;
    then `why` says why it is not.
    """

    restored: Rollout | None
    reason: str = ""


def roll_back(rollouts: Sequence[Rollout], run: Run) -> dict[str, RollbackResult]:
    """Put the version before back for those that were refused and want that; return what became of
    each, by name. Raises `Interrupted`; a deploy is then still owed.
    """
    refused = [
        each
        for each in rollouts
        if each.refused and each.spec.deploy.on_failure is OnFailure.ROLLBACK
    ]
    found: dict[str, RollbackResult] = {}
    older: list[Rollout] = []
    for each in refused:
        version = _before(each, run)
        if version is None:
            found[each.name] = RollbackResult(
                None, "there is no version before that could be served"
            )
            continue
        try:
            run.services.store.revert_live(each.name, version.number)
            older.append(pack(each.spec, version, each.deployment, each.targets, run))
        except CertctlError as error:
            found[each.name] = RollbackResult(None, error.message)
    for rollout in _deployed(older, run):
        if rollout.error is None:
            found[rollout.name] = RollbackResult(rollout)
        else:
            reason = f"version {rollout.version.number} fares no better: {rollout.error.message}"
            found[rollout.name] = RollbackResult(None, reason)
    forward = [each for each in refused if found[each.name].restored is None]
    _return(forward, run)
    return found


def _deployed(rollouts: Sequence[Rollout], run: Run) -> list[Rollout]:
    """Take older versions the same way, and look at them the same way."""
    placed = [apply_step(each, place, run) for each in rollouts]
    hooked = [apply_step(each, run_deploy_hooks, run) for each in placed]
    return check_live(reload(test(hooked, run), run), run)


def _return(rollouts: Sequence[Rollout], run: Run) -> None:
    """Make the newer versions live again where those before fared no better."""
    again: list[Rollout] = []
    for each in rollouts:
        live = run.services.store.status(each.name).live
        if live is not None and live.number == each.version.number:
            continue
        run.services.store.revert_live(each.name, each.version.number)
        again.append(replace(each, error=None, refused=False))
    placed = [apply_step(each, place, run) for each in again]
    reload(test(placed, run), run)


def _before(rollout: Rollout, run: Run) -> Version | None:
    """Return the version to go back to: the one whose deploy held last, else the newest before."""
    store, now = run.services.store, run.services.clock.now()
    renewal_state, number = store.status(rollout.name).renewal_state, rollout.version.number
    fit = {
        each.number: each
        for each in store.versions(rollout.name)
        if each.number < number
        and each.facts.not_before <= now < each.facts.not_after
        and each.number not in renewal_state.revoked
        and each.facts.key_sha256 not in renewal_state.compromised_keys
    }
    deployed = rollout.deployment.deployed
    return fit.get(deployed or 0) or fit.get(max(fit, default=0))
