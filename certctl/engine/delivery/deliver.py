"""Deploy versions of certificates; every deployment goes through `deliver`.

The steps, for a batch of certificates: copies and deploy hooks of each certificate, each distinct
configuration test and each distinct reload once, then the live check; then the results are saved.
If a step fails, the deployment stays pending. The issued certificate stays live unless its spec
asks for a rollback.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from certctl.engine.delivery.live_check import check_live
from certctl.engine.delivery.live_version import activate_wanted, mark_undeployed
from certctl.engine.delivery.rollback import RollbackResult, roll_back
from certctl.engine.delivery.steps import (
    Rollout,
    Target,
    apply_step,
    new_rollout,
    reload,
    run_deploy_hooks,
    targets_of,
    test,
    write_copies,
)
from certctl.engine.delivery.used_files import check_use
from certctl.engine.held import Held
from certctl.engine.parallel import in_parallel
from certctl.engine.run import Run
from certctl.model.delivery import Deployment, DeployResult
from certctl.model.errors import CertctlError, DeployFailed, FilesDamaged
from certctl.model.events import Deployed, Failed
from certctl.rules.renewal import deploy_failed

_THREADS = 16
"""Results that are saved at a time."""


def deliver(certificates: Sequence[Held], run: Run) -> list[DeployResult]:
    """Deploy the wanted version of each certificate; return the results in the same order.

    Raises `Interrupted` if the run is stopped; unfinished deployments are then still pending.
    """
    known: dict[Hashable, Target] = {}
    prepared = [_prepared(held, run, known) for held in certificates]
    rollouts = [each for each in prepared if isinstance(each, Rollout)]
    rollouts = [apply_step(each, write_copies, run) for each in rollouts]
    rollouts = [apply_step(each, run_deploy_hooks, run) for each in rollouts]
    rollouts = check_live(check_use(reload(test(rollouts, run), run), run), run)
    rollbacks = roll_back(rollouts, run)
    # side by side, since each waits for the disk
    saved = in_parallel(
        lambda each: _save_result(each, rollbacks.get(each.name), run), rollouts, threads=_THREADS
    )
    results = {each.name: each for each in saved}
    results |= {each.name: each for each in prepared if isinstance(each, DeployResult)}
    return [results[held.name] for held in certificates]


def _prepared(held: Held, run: Run, known: dict[Hashable, Target]) -> Rollout | DeployResult:
    """Return a rollout that is ready for its steps. An error becomes a result, so that the other
    certificates are still deployed.
    """
    name = held.name
    try:
        return _prepare(held, run, known)
    except CertctlError as error:
        failure = DeployFailed(
            f"{name} cannot be deployed: {error.message}",
            hint=error.hint or f"For details, run: certctl show {name}",
            name=name,
            code=error.code,
        )
        run.services.emit(Failed(name, run.services.clock.now(), failure.code, failure.message))
        return DeployResult(name, 0, deployed=False, error=failure)


def _prepare(held: Held, run: Run, known: dict[Hashable, Target]) -> Rollout:
    """Make the wanted version live if it is not, and return its rollout with its targets."""
    activate_wanted(held, run)
    name, status = held.name, held.status
    if status.live is None:
        raise DeployFailed(
            "there is no certificate to deploy yet",
            hint=f"To issue it, run: certctl renew {name}",
            name=name,
        )
    if status.damage is not None:
        raise DeployFailed(
            f"the files of version {status.live.number} are damaged: {status.damage}",
            hint=f"Restore them from a backup, or get a new certificate: certctl renew {name}",
            name=name,
            code=FilesDamaged.code,
        )
    rollout = new_rollout(held, status.live, mark_undeployed(held), (), run)
    try:
        return replace(rollout, targets=targets_of(held.spec, run, known))
    except CertctlError as error:
        return replace(rollout, error=error)


def _save_result(rollout: Rollout, rollback: RollbackResult | None, run: Run) -> DeployResult:
    """Save the result of a deployment, and emit the event."""
    held, now, name = rollout.held, run.services.clock.now(), rollout.name
    number, error = rollout.version.number, rollout.error
    if error is None:
        verified_at = now if rollout.probes else None
        deployment = Deployment(
            number,
            number,
            now,
            verified_at=verified_at,
            copies=rollout.copies,
            waiting=held.deployment.waiting,
        )
        held.save_deployment(deployment)
        run.services.emit(Deployed(name, now, number))
        return DeployResult(name, number, deployed=True, probes=rollout.probes)
    failure = _failure(rollout, error, rollback)
    copies = held.deployment.copies
    deployment = replace(rollout.deployment, copies=copies)
    restored = rollback.restored if rollback is not None else None
    if restored is not None:
        verified_at = now if restored.probes else None
        deployment = replace(
            deployment,
            deployed=restored.version.number,
            deployed_at=now,
            verified_at=verified_at,
        )
    held.save_deployment(deploy_failed(deployment, failure, now))
    run.services.emit(Failed(name, now, failure.code, failure.message))
    return DeployResult(
        name,
        number,
        deployed=False,
        error=failure,
        probes=rollout.probes,
        rolled_back_to=restored.version.number if restored is not None else None,
    )


def _failure(
    rollout: Rollout, error: CertctlError, rollback: RollbackResult | None
) -> DeployFailed:
    number = rollout.version.number
    if rollback is not None and rollback.restored is not None:
        old = rollback.restored.version.number
        message = (
            f"ROLLED BACK: version {old} is live and deployed again, because the deployment of"
            f" version {number} failed: {error.message}"
        )
    else:
        message = f"version {number} is live, but its deployment failed: {error.message}"
        if rollback is not None:
            message += f"\nIt was not rolled back: {rollback.reason}"
    return DeployFailed(
        message,
        hint=error.hint or f"To try again, run: certctl deploy {rollout.name}",
        name=rollout.name,
        code=error.code,
    )
