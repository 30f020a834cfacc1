"""Automatic rollback: deploy the previous version again after a configuration test, a reload or a
live check failed with the new one.

Only if the spec says so (`on_failure = "rollback"`), only to a version that may still be served,
and only if the same checks pass with it. The newer version remains the wanted version: its
deployment stays pending and is tried again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from certctl.engine.delivery.live_check import check_live
from certctl.engine.delivery.steps import (
    Rollout,
    apply_step,
    new_rollout,
    reload,
    run_deploy_hooks,
    test,
    write_copies,
)
from certctl.engine.run import Run
from certctl.model.certificate import Version
from certctl.model.errors import CertctlError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import OnFailure


@dataclass(frozen=True)
class RollbackResult:
    """The result of a rollback: `restored` is the deployed previous version; None if the rollback
    was not possible, for this `reason`.
    """

    restored: Rollout | None
    reason: str = ""


def roll_back(rollouts: Sequence[Rollout], run: Run) -> dict[str, RollbackResult]:
    """Roll back each refused rollout whose spec says so; return the results by certificate name.

    Raises `Interrupted`; the deployments are then still pending.
    """
    refused = [
        each
        for each in rollouts
        if each.refused and each.spec.deploy.on_failure is OnFailure.ROLLBACK
    ]
    results: dict[str, RollbackResult] = {}
    older: list[Rollout] = []
    for each in refused:
        version = _previous_version(each, run.services.clock.now())
        if version is None:
            results[each.name] = RollbackResult(None, "no earlier version can be served")
            continue
        try:
            each.held.revert_live(version)
            older.append(new_rollout(each.held, version, each.deployment, each.targets, run))
        except CertctlError as error:
            results[each.name] = RollbackResult(None, error.message)
    for rollout in _deploy(older, run):
        if rollout.error is None:
            results[rollout.name] = RollbackResult(rollout)
        else:
            reason = f"version {rollout.version.number} fails as well: {rollout.error.message}"
            results[rollout.name] = RollbackResult(None, reason)
    not_restored = [each for each in refused if results[each.name].restored is None]
    _restore_newer(not_restored, run)
    return results


def _deploy(rollouts: Sequence[Rollout], run: Run) -> list[Rollout]:
    """Deploy earlier versions with the same steps and the same live check as the newer ones."""
    copied = [apply_step(each, write_copies, run) for each in rollouts]
    hooked = [apply_step(each, run_deploy_hooks, run) for each in copied]
    return check_live(reload(test(hooked, run), run), run)


def _restore_newer(rollouts: Sequence[Rollout], run: Run) -> None:
    """Make the newer versions live again after their rollback failed."""
    again: list[Rollout] = []
    for each in rollouts:
        live = each.held.live
        if live is not None and live.number == each.version.number:
            continue
        each.held.revert_live(each.version)
        again.append(replace(each, error=None, refused=False))
    copied = [apply_step(each, write_copies, run) for each in again]
    reload(test(copied, run), run)


def _previous_version(rollout: Rollout, now: datetime) -> Version | None:
    """Return the version to roll back to: the last one deployed successfully, else the newest
    earlier one; None if no earlier version may be served.
    """
    renewal_state, number = rollout.held.renewal_state, rollout.version.number
    candidates = {
        each.number: each
        for each in rollout.held.versions
        if each.number < number
        and each.facts.not_before <= now < each.not_after
        and each.number not in renewal_state.revoked
        and not each.keys_sha256.intersection(renewal_state.compromised_keys)
    }
    deployed = rollout.deployment.deployed
    return candidates.get(deployed or 0) or candidates.get(max(candidates, default=0))
