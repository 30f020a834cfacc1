"""Deliver: the only way in which a version reaches its consumers.

The order, in batches: copies and deploy hooks of each certificate, then each distinct configuration
test and each distinct reload once, then what became of each is written down. A step that fails
leaves the deploy owed; the issued certificate stays live. The certificates' locks are held by
whoever calls.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from certctl.errors import CertctlError, DeployFailed
from certctl.events import Deployed, Failed
from certctl.models import Deployment, DeployResult
from certctl.operations.run import Run
from certctl.operations.shipments import (
    Shipment,
    Target,
    attempted,
    pack,
    place,
    reload,
    run_deploy_hooks,
    targets_of,
    test,
)
from certctl.operations.specs import load
from certctl.operations.targets import owe, with_target_live
from certctl.renewal import deploy_failed


def deliver(names: Sequence[str], run: Run) -> list[DeployResult]:
    """Deploy the target version of each certificate; return what became of each, in that order.

    Raises `Interrupted` where the run was stopped; what was not finished is then still owed.
    """
    known: dict[Hashable, Target] = {}
    prepared = [_prepared(name, run, known) for name in names]
    shipments = [each for each in prepared if isinstance(each, Shipment)]
    shipments = [attempted(each, place, run) for each in shipments]
    shipments = [attempted(each, run_deploy_hooks, run) for each in shipments]
    shipments = reload(test(shipments, run), run)
    results = {each.name: _settle(each, run) for each in shipments}
    results |= {each.name: each for each in prepared if isinstance(each, DeployResult)}
    return [results[name] for name in names]


def _prepared(name: str, run: Run, known: dict[Hashable, Target]) -> Shipment | DeployResult:
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


def _prepare(name: str, run: Run, known: dict[Hashable, Target]) -> Shipment:
    """Make the target version live where it is not yet, and find what has to be done for it."""
    status = with_target_live(name, run)
    if status.live is None:
        raise DeployFailed(
            "there is no certificate to deploy yet", hint=f"certctl renew {name}", name=name
        )
    spec = load(run, name)
    shipment = pack(spec, status.live, owe(name, run), (), run)
    try:
        return replace(shipment, targets=targets_of(spec, run, known))
    except CertctlError as error:
        return replace(shipment, error=error)


def _settle(shipment: Shipment, run: Run) -> DeployResult:
    """Remember what became of a deploy, and say it."""
    store, now, name = run.services.store, run.services.clock.now(), shipment.name
    number = shipment.version.number
    if shipment.error is None:
        store.save_deployment(name, Deployment(number, number, now, copies=shipment.copies))
        run.services.emit(Deployed(name, now, number))
        return DeployResult(name, number, deployed=True)
    failure = DeployFailed(
        f"version {number} is live, but its deploy failed: {shipment.error.message}",
        hint=shipment.error.hint or f"certctl deploy {name}",
        name=name,
        code=shipment.error.code,
    )
    copies = store.status(name).deployment.copies
    before = replace(shipment.deployment, copies=copies)
    store.save_deployment(name, deploy_failed(before, failure, now))
    run.services.emit(Failed(name, now, failure.code, failure.message))
    return DeployResult(name, number, deployed=False, error=failure)
