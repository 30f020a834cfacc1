"""The wanted version of a certificate: the one that should be live.

If a crash left it inactive, it is activated, even if it was archived but not yet recorded as
wanted.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from certctl.engine.held import Held
from certctl.engine.run import Run
from certctl.model.delivery import Deployment
from certctl.model.errors import CertctlError, FilesDamaged
from certctl.rules.renewal import after_success, in_backoff
from certctl.rules.renewal_windows import deployment_opens


def activate_wanted(held: Held, run: Run, *, respect_backoff: bool = False) -> None:
    """Make the wanted version live if it is not.

    With `respect_backoff`, a version whose deploy was refused and rolled back waits for its next
    attempt, in its deploy window.

    If the wanted version is missing or damaged, a warning is printed and the live one becomes the
    wanted one. If there is no live version either, a new one has to be ordered.

    Damaged files of the live version are restored from its other files, and the version is then
    deployed again. If that is not possible, the status has the `damage`.
    """
    _finish(held, run)
    _restore(held, run)
    status = held.status
    wanted, live = status.deployment.wanted, status.live
    if wanted is None or (live is not None and live.number == wanted):
        return
    rolled_back = live is not None and live.number == status.deployment.deployed
    now = run.services.clock.now()
    if respect_backoff and rolled_back and in_backoff(status.deployment, now):
        return
    if respect_backoff and rolled_back and _opens_later(held, now):
        return
    try:
        held.activate_number(wanted)
    except CertctlError as error:
        run.warn(f"version {wanted} cannot be made live: {error.message}", held.name)
        kept = live.number if live is not None else None
        held.save_deployment(replace(status.deployment, wanted=kept))


def mark_undeployed(held: Held) -> Deployment:
    """Record that the wanted version is not deployed, so that an interrupted deploy is repeated.

    Returns the deployment state from before.
    """
    deployment = held.deployment
    if deployment.wanted is not None and deployment.deployed == deployment.wanted:
        held.save_deployment(replace(deployment, deployed=None))
    return deployment


def _restore(held: Held, run: Run) -> None:
    """Restore the damaged files of the live version."""
    live, damage = held.live, held.status.damage
    if live is None or damage is None:
        return
    try:
        restored = held.restore_files(live)
    except CertctlError as error:
        run.warn(f"{error.message}. A new certificate is needed.", held.name)
        return
    run.warn(
        f"restored damaged files of version {live.number} from its other files:"
        f" {', '.join(restored)} ({damage})",
        held.name,
    )
    mark_undeployed(held)


def _finish(held: Held, run: Run) -> None:
    """Finish what a run left that was killed after it had archived the certificate of its order."""
    finished = held.stored.version_of([each.url for each in held.pending])
    if finished is None or finished in held.added:
        return
    now = run.services.clock.now()
    if held.deployment.waiting != finished.number and (
        held.live is None or held.live.number < finished.number
    ):
        try:
            if _opens_later(held, now):
                held.await_window(finished)
            else:
                held.activate(finished)
        except FilesDamaged as error:
            run.warn(f"{error.message}. This version is ignored.", held.name)
            held.drop_pending()
            return
    state = after_success(held.renewal_state, finished.request.ca, now)
    held.save_renewal_state(state, next_action_at=now)


def _opens_later(held: Held, now: datetime) -> bool:
    """Return whether a version must not become live yet, since its deploy window is closed."""
    try:
        return deployment_opens(held.spec, held.status, now) is not None
    except CertctlError:
        return False  # its spec cannot be read, and so neither its windows
