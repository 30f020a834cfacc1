"""The wanted version of a certificate: the one that should be live.

If a crash left it inactive, it is activated, even if it was archived but not yet recorded as
wanted.
"""

from __future__ import annotations

from dataclasses import replace

from certctl.engine.run import Run
from certctl.model.delivery import Deployment
from certctl.model.errors import CertctlError, FilesDamaged
from certctl.model.status import CertificateStatus
from certctl.rules.renewal import after_success, in_backoff


def activate_wanted(name: str, run: Run, *, respect_backoff: bool = False) -> CertificateStatus:
    """Make the wanted version live if it is not, and return the status; needs the lock.

    With `respect_backoff`, a version whose deploy was refused and rolled back waits for its next
    attempt.

    If the wanted version is missing or damaged, a warning is printed and the live one becomes the
    wanted one. If there is no live version either, a new one has to be ordered.

    Damaged files of the live version are restored from its other files, and the version is then
    deployed again. If that is not possible, the status has the `damage`.
    """
    store = run.services.store
    _finish(name, run)
    status = _restored(store.status(name), run)
    wanted, live = status.deployment.wanted, status.live
    if wanted is None or (live is not None and live.number == wanted):
        return status
    rolled_back = live is not None and live.number == status.deployment.deployed
    if respect_backoff and rolled_back and in_backoff(status.deployment, run.services.clock.now()):
        return status
    try:
        store.activate(name, wanted)
    except CertctlError as error:
        run.warn(f"version {wanted} cannot be made live: {error.message}", name)
        kept = live.number if live is not None else None
        store.save_deployment(name, replace(status.deployment, wanted=kept))
    return store.status(name)


def mark_undeployed(name: str, run: Run) -> Deployment:
    """Record that the wanted version is not deployed, so that an interrupted deploy is repeated.

    Returns the deployment state from before.
    """
    deployment = run.services.store.status(name).deployment
    if deployment.wanted is not None and deployment.deployed == deployment.wanted:
        run.services.store.save_deployment(name, replace(deployment, deployed=None))
    return deployment


def _restored(status: CertificateStatus, run: Run) -> CertificateStatus:
    """Restore the damaged files of the live version; return the current status."""
    live, store = status.live, run.services.store
    if live is None or status.damage is None:
        return status
    try:
        restored = store.restore_files(live.name, live.number)
    except CertctlError as error:
        run.warn(f"{error.message}. A new certificate is needed.", live.name)
        return status
    run.warn(
        f"restored damaged files of version {live.number} from its other files:"
        f" {', '.join(restored)} ({status.damage})",
        live.name,
    )
    mark_undeployed(live.name, run)
    return store.status(live.name)


def _finish(name: str, run: Run) -> None:
    """Finish what a run left that was killed after it had archived the certificate of its order."""
    store, now = run.services.store, run.services.clock.now()
    pending = store.pending(name)
    if pending is None or pending.url is None:
        return
    finished = next((each for each in store.versions(name) if each.order_url == pending.url), None)
    if finished is None:
        return
    status = store.status(name)
    if status.live is None or status.live.number < finished.number:
        try:
            store.activate(name, finished.number)
        except FilesDamaged as error:
            run.warn(f"{error.message}. This version is ignored.", name)
            store.drop_pending(name)
            return
        renewal_state = after_success(status.renewal_state, finished.request.ca, now)
        store.save_renewal_state(name, renewal_state, next_action_at=now)
    store.drop_pending(name)
