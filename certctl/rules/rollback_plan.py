"""The plan of a rollback: which version becomes live again.

Pure functions of the models and a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from certctl.model.certificate import Version
from certctl.model.errors import UsageError
from certctl.model.spec import CertificateSpec
from certctl.model.status import CertificateStatus
from certctl.rules.plan import Activate, Deploy, Plan
from certctl.rules.renewal import latest_renewal


def rollback(
    spec: CertificateSpec,
    status: CertificateStatus,
    versions: Sequence[Version],
    number: int | None,
    now: datetime,
) -> Plan:
    """Return the plan to make an older version live, by default the previous one.

    Raises `UsageError` for a version that is expired or revoked, or whose key was compromised.
    """
    version = _older(spec.name, status, versions, number)
    unfit = _unfit(version, status, now)
    if unfit is not None:
        raise UsageError(
            f"version {version.number} of {version.name} {unfit}",
            hint=f"List its versions with: certctl show {version.name}. To get a new one: "
            f"certctl renew --force {version.name}",
            name=version.name,
            code="usage.unfit_version",
        )
    why = f"rollback to version {version.number}"
    return Plan(spec, (Activate(why, version, latest_renewal(version)), Deploy(why)))


def _older(
    name: str, status: CertificateStatus, versions: Sequence[Version], number: int | None
) -> Version:
    live = status.live.number if status.live is not None else None
    known = {version.number: version for version in versions}
    if number is None:
        older = [each for each in known if live is None or each < live]
        if not older:
            raise UsageError(
                f"{name} has no version older than the live one",
                hint=f"List its versions with: certctl show {name}",
                code="usage.unknown_version",
            )
        number = max(older)
    if number not in known:
        raise UsageError(
            f"{name} has no version {number}; it has {', '.join(map(str, sorted(known)))}",
            hint=f"List its versions with: certctl show {name}",
            code="usage.unknown_version",
        )
    return known[number]


def _unfit(version: Version, status: CertificateStatus, now: datetime) -> str | None:
    """Return why a version must not be served, as a phrase; None if it may be."""
    state = status.renewal_state
    if status.live is not None and version.number == status.live.number:
        return "is already live"
    if version.not_after <= now:
        return f"expired on {version.not_after:%Y-%m-%d}"
    if version.number in state.revoked:
        return "was revoked"
    if version.keys_sha256.intersection(state.compromised_keys):
        return "has a key that was compromised"
    return None
