"""The one way to deploy: deploy hooks of every certificate, then each distinct reload once.

The caller holds the certificates' locks. A deploy that does not hold is owed: it is remembered with
its error, counted by every run, and tried again once its backoff has passed. The issued certificate
is never undone by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from certctl.deploy.environment import run_variables, variables
from certctl.deploy.hooks import Hook, deploy_hooks, run_hook
from certctl.errors import CertctlError, DeployFailed, Interrupted
from certctl.events import Deployed, Failed
from certctl.models import CertificateSpec, Deployment, DeployResult, Version
from certctl.operations.run import Run
from certctl.operations.specs import load
from certctl.operations.targets import owe, with_target_live
from certctl.renewal import deploy_failed


@dataclass(frozen=True)
class _Delivery:
    """One certificate on its way to its consumers."""

    spec: CertificateSpec
    version: Version
    deployment: Deployment
    error: CertctlError | None = None


def deliver(names: Sequence[str], run: Run) -> list[DeployResult]:
    """Deploy the target version of each certificate; return what became of each, in that order.

    Raises `Interrupted` where the run was stopped; what was not finished is then still owed.
    """
    prepared = [_prepared(name, run) for name in names]
    deliveries = [_with_hooks(each, run) for each in prepared if isinstance(each, _Delivery)]
    broken = _reload(deliveries, run)
    results = {each.spec.name: _settle(_after_reload(each, broken), run) for each in deliveries}
    results |= {each.name: each for each in prepared if isinstance(each, DeployResult)}
    return [results[name] for name in names]


def _prepared(name: str, run: Run) -> _Delivery | DeployResult:
    """Return a delivery that can begin, or why there is none: it stops none of the others."""
    try:
        return _prepare(name, run)
    except CertctlError as error:
        failure = DeployFailed(
            f"{name} cannot be deployed: {error.message}",
            hint=error.hint or f"certctl show {name}",
            name=name,
            code=error.code,
        )
        run.services.emit(Failed(name, run.services.clock.now(), failure.code, failure.message))
        return DeployResult(name, 0, deployed=False, error=failure)


def _prepare(name: str, run: Run) -> _Delivery:
    """Make the target live where it is not yet, and find what has to be done for it."""
    status = with_target_live(name, run)
    if status.live is None:
        raise DeployFailed(
            "there is no certificate to deploy yet", hint=f"certctl renew {name}", name=name
        )
    spec = load(run, name)
    return _Delivery(spec, status.live, owe(name, run))


def _with_hooks(delivery: _Delivery, run: Run) -> _Delivery:
    """Run what is to be run once for this version; a failure goes with the delivery."""
    tree, spec = run.services.tree, delivery.spec
    facts = variables(
        "deploy", delivery.version, tree.files(delivery.version), delivery.deployment.deployed
    )
    try:
        for hook in deploy_hooks(spec, tree):
            run.check()
            run_hook(
                hook,
                facts,
                timeout=spec.deploy.hook_timeout,
                run=run.hook_system,
                name=spec.name,
            )
    except Interrupted:
        raise
    except CertctlError as error:
        return replace(delivery, error=error)
    return delivery


def _reload(deliveries: Sequence[_Delivery], run: Run) -> dict[str, CertctlError]:
    """Run each distinct reload once for all that ask for it; return those that failed."""
    broken: dict[str, CertctlError] = {}
    asking: dict[str, list[_Delivery]] = {}
    for delivery in deliveries:
        if delivery.error is None and delivery.spec.deploy.reload:
            asking.setdefault(delivery.spec.deploy.reload, []).append(delivery)
    for command, those in asking.items():
        run.check()
        domains = [each.value for delivery in those for each in delivery.spec.identifiers]
        try:
            run_hook(
                Hook("reload", command),
                run_variables("reload", domains, ()),
                timeout=max(each.spec.deploy.hook_timeout for each in those),
                run=run.hook_system,
            )
        except Interrupted:
            raise
        except CertctlError as error:
            broken[command] = error
    return broken


def _after_reload(delivery: _Delivery, broken: dict[str, CertctlError]) -> _Delivery:
    failure = broken.get(delivery.spec.deploy.reload or "")
    return delivery if failure is None or delivery.error else replace(delivery, error=failure)


def _settle(delivery: _Delivery, run: Run) -> DeployResult:
    """Remember what became of a deploy, and say it."""
    store, now, name = run.services.store, run.services.clock.now(), delivery.spec.name
    number = delivery.version.number
    if delivery.error is None:
        store.save_deployment(name, Deployment(number, number, now))
        run.services.emit(Deployed(name, now, number))
        return DeployResult(name, number, deployed=True)
    failure = DeployFailed(
        f"version {number} is live, but its deploy failed: {delivery.error.message}",
        hint=delivery.error.hint or f"certctl deploy {name}",
        name=name,
        code=delivery.error.code,
    )
    store.save_deployment(name, deploy_failed(delivery.deployment, failure, now))
    run.services.emit(Failed(name, now, failure.code, failure.message))
    return DeployResult(name, number, deployed=False, error=failure)
