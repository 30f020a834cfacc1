"""The current state of a certificate, from what the records and this machine have stored about it.

Pure: the stored values in, a `CertificateStatus` out. Times that a wrong clock has written do not
count (`certctl.rules.remembered_times`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from certctl.model.certificate import RenewalState, Version
from certctl.model.delivery import THIS_MACHINE, Deployment
from certctl.model.status import CertificateStatus
from certctl.rules.remembered_state import believed_deployment, believed_renewal_state


def current_state(
    name: str,
    versions: Mapping[int, Version],
    renewal_state: RenewalState,
    saved_at: datetime | None,
    live: int | None,
    deployments: tuple[Deployment, ...],
    now: datetime,
    damage: str | None = None,
) -> CertificateStatus:
    """Return the current state of a certificate.

    `renewal_state` was saved at `saved_at`, `live` is the number in the live link, and `damage`
    what is wrong with the files of that version. Without a deployment on this machine, the live
    version or else the newest one is wanted, and none is known to be deployed. A live version that
    is not among `versions` counts as missing, so that it is replaced.
    """
    current = None if live is None else versions.get(live)
    every = {each.destination: believed_deployment(each, now) for each in deployments}
    deployment = every.get(THIS_MACHINE, Deployment())
    if deployment.wanted is None:
        newest = max(versions, default=None) if current is None else current.number
        deployment = Deployment(wanted=newest)
    others = (each for each in every.values() if each.destination != THIS_MACHINE)
    not_live = None
    if current is not None and deployment.wanted not in {None, current.number}:
        not_live = versions.get(deployment.wanted or 0)
    waiting = _waiting(versions, deployment, renewal_state, now)
    newest_wanted = waiting or not_live or current
    served = deployment.deployed
    if served is not None and (current is None or served != current.number):
        served_version = versions.get(served)
    else:
        served_version = None if served is None else current
    return CertificateStatus(
        name=name,
        live=current,
        deployments=(deployment, *others),
        renewal_state=believed_renewal_state(renewal_state, newest_wanted, saved_at, now),
        wanted_not_live=not_live,
        damage=None if current is None else damage,
        waiting=waiting,
        served=served_version,
    )


def _waiting(
    versions: Mapping[int, Version], deployment: Deployment, state: RenewalState, now: datetime
) -> Version | None:
    """Return the version that waits for its deploy window; None if there is none that may still be
    served, or if a newer one is wanted.
    """
    if deployment.waiting is None or deployment.waiting <= (deployment.wanted or 0):
        return None
    version = versions.get(deployment.waiting)
    if version is None or version.not_after <= now:
        return None
    withdrawn = {*state.revoked, *(each.version for each in state.revocations)}
    if version.number in withdrawn or version.keys_sha256.intersection(state.compromised_keys):
        return None
    return version
