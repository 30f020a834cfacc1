"""The target of a certificate: the version wanted live, made live where a crash left it waiting,
also one that was archived but not yet aimed at.
"""

from __future__ import annotations

from dataclasses import replace

from certctl.errors import CertctlError
from certctl.models import CertificateStatus, Deployment
from certctl.operations.run import Run
from certctl.renewal import after_success, in_backoff


def activate_wanted(name: str, run: Run, *, respect_backoff: bool = False) -> CertificateStatus:
    """Make the wanted version live if it is not, and return the status; needs the lock.

    With `respect_backoff`, a version whose deploy was refused and rolled back waits for its next
    attempt.

    A target that is gone or damaged is given up for what is live, and that is said. Where nothing
    is live either, a new version has to be ordered.
    """
    store = run.services.store
    _finish(name, run)
    status = store.status(name)
    target, live = status.deployment.wanted, status.live
    if target is None or (live is not None and live.number == target):
        return status
    put_back = live is not None and live.number == status.deployment.deployed
    if respect_backoff and put_back and in_backoff(status.deployment, run.services.clock.now()):
        return status
    try:
        store.activate(name, target)
    except CertctlError as error:
        run.warn(f"version {target} cannot become live: {error.message}", name)
        kept = live.number if live is not None else None
        store.save_deployment(name, replace(status.deployment, wanted=kept))
    return store.status(name)


def mark_undeployed(name: str, run: Run) -> Deployment:
    """Write down that the target has to be deployed, also where it has been before; return what was
    remembered until now. A deploy that is cut off is then owed.
    """
    deployment = run.services.store.status(name).deployment
    if deployment.wanted is not None and deployment.deployed == deployment.wanted:
        run.services.store.save_deployment(name, replace(deployment, deployed=None))
    return deployment


def _finish(name: str, run: Run) -> None:
    """Take up where a run was cut off after its order was paid and archived: the version that
    names the order under way is what was wanted.
    """
    store, now = run.services.store, run.services.clock.now()
    pending = store.pending(name)
    if pending is None or pending.url is None:
        return
    finished = next((each for each in store.versions(name) if each.order_url == pending.url), None)
    if finished is None:
        return
    status = store.status(name)
    if status.live is None or status.live.number < finished.number:
        store.activate(name, finished.number)
        store.save_renewal_state(name, after_success(status.renewal_state, now), next_action_at=now)
    store.drop_pending(name)
