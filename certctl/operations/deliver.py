"""Deliver: the only way in which a version reaches its consumers.

The order, in batches: copies and deploy hooks of each certificate, then each distinct configuration
test and each distinct reload once, then a look on the wire, then what became of each is written
down. A step that fails leaves the deploy owed; the issued certificate stays live, or makes way for
the one before where its spec asks for that. The certificates' locks are held by whoever calls.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from certctl.errors import CertctlError, DeployFailed
from certctl.events import Deployed, Failed
from certctl.models import Deployment, DeployResult
from certctl.operations.automatic_rollback import RollbackResult, roll_back
from certctl.operations.deploy_steps import (
    Rollout,
    Target,
    apply_step,
    pack,
    reload,
    run_deploy_hooks,
    targets_of,
    test,
    write_copies,
)
from certctl.operations.live_check import check_live
from certctl.operations.live_version import activate_wanted, mark_undeployed
from certctl.operations.run import Run
from certctl.operations.specs import load
from certctl.renewal import deploy_failed


def deliver(names: Sequence[str], run: Run) -> list[DeployResult]:
    """Deploy the target version of each certificate; return what became of each, in that order.

    Raises `Interrupted` where the run was stopped; what was not finished is then still owed.
    """
    known: dict[Hashable, Target] = {}
    prepared = [_prepared(name, run, known) for name in names]
    rollouts = [each for each in prepared if isinstance(each, Rollout)]
    rollouts = [apply_step(each, write_copies, run) for each in rollouts]
    rollouts = [apply_step(each, run_deploy_hooks, run) for each in rollouts]
    rollouts = check_live(reload(test(rollouts, run), run), run)
    rollbacks = roll_back(rollouts, run)
    results = {each.name: _settle(each, rollbacks.get(each.name), run) for each in rollouts}
    results |= {each.name: each for each in prepared if isinstance(each, DeployResult)}
    return [results[name] for name in names]


def _prepared(name: str, run: Run, known: dict[Hashable, Target]) -> Rollout | DeployResult:
    """Return a shipment that can begin, or why there is none: it stops none of the others."""
    try:
        return _prepare(name, run, known)
    except CertctlError as error:
        failure = DeployFailed(
            f"{name} cannot be deployed: {error.message}",
            hint=error.hint or f"certctl show {name}",
            name=name,
            code=error.code,
        )
        run.services.emit(Failed(name, run.services.clock.now(), failure.code, failure.message))
        return DeployResult(name, 0, deployed=False, error=failure)


def _prepare(name: str, run: Run, known: dict[Hashable, Target]) -> Rollout:
    """Make the target version live where it is not yet, and find what has to be done for it."""
    status = activate_wanted(name, run)
    if status.live is None:
        raise DeployFailed(
            "there is no certificate to deploy yet", hint=f"certctl renew {name}", name=name
        )
    spec = load(run, name)
    rollout = pack(spec, status.live, mark_undeployed(name, run), (), run)
    try:
        return replace(rollout, targets=targets_of(spec, run, known))
    except CertctlError as error:
        return replace(rollout, error=error)


def _settle(rollout: Rollout, rollback: RollbackResult | None, run: Run) -> DeployResult:
    """Remember what became of a deploy, and say it."""
    store, now, name = run.services.store, run.services.clock.now(), rollout.name
    number, error = rollout.version.number, rollout.error
    if error is None:
        seen = now if rollout.probes else None
        held = Deployment(number, number, now, verified_at=seen, copies=rollout.copies)
        store.save_deployment(name, held)
        run.services.emit(Deployed(name, now, number))
        return DeployResult(name, number, deployed=True, probes=rollout.probes)
    failure = _failure(rollout, error, rollback)
    copies = store.status(name).deployment.copies
    remembered = replace(rollout.deployment, copies=copies)
    back = rollback.restored if rollback is not None else None
    if back is not None:
        seen = now if back.probes else None
        remembered = replace(
            remembered, deployed=back.version.number, deployed_at=now, verified_at=seen
        )
    store.save_deployment(name, deploy_failed(remembered, failure, now))
    run.services.emit(Failed(name, now, failure.code, failure.message))
    return DeployResult(
        name,
        number,
        deployed=False,
        error=failure,
        probes=rollout.probes,
        rolled_back_to=back.version.number if back is not None else None,
    )


def _failure(
    rollout: Rollout, error: CertctlError, rollback: RollbackResult | None
) -> DeployFailed:
    number = rollout.version.number
    if rollback is not None and rollback.restored is not None:
        old = rollback.restored.version.number
        message = (
            f"ROLLED BACK: version {old} is live and deployed again, since version {number} was"
            f" refused: {error.message}"
        )
    else:
        message = f"version {number} is live, but its deploy failed: {error.message}"
        if rollback is not None:
            message += f"\nIt was not rolled back: {rollback.reason}"
    return DeployFailed(
        message,
        hint=error.hint or f"certctl deploy {rollout.name}",
        name=rollout.name,
        code=error.code,
    )
