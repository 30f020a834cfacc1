"""Manual operations on versions: roll back to an old one, deploy again, delete a certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from certctl.engine.delivery.deliver import deliver
from certctl.engine.memory import update_next_action
from certctl.engine.report import Report
from certctl.engine.run import Run
from certctl.engine.specs import require
from certctl.model.certificate import Version
from certctl.model.delivery import DeployResult
from certctl.model.errors import LockHeld, UsageError
from certctl.model.names import certificate_name
from certctl.model.run import Outcome
from certctl.model.status import CertificateStatus
from certctl.rules.renewal import latest_renewal


def rollback(run: Run, name: str, number: int | None) -> Report:
    """Make an older version live again (by default the previous one) and deploy it.

    Renewal pauses until a sixth of its lifetime is left. Raises `UsageError` for a version that is
    expired or revoked, or whose key was compromised.
    """
    require(run, (name,))
    run.lock(name, timeout=run.services.settings.seconds("lock_timeout"))
    store = run.services.store
    status = store.status(name)
    version = _older(run, name, status.live.number if status.live else None, number)
    _refuse_unfit(run, version, status)
    store.activate(name, version.number)
    renewal_state = replace(store.status(name).renewal_state, paused_until=latest_renewal(version))
    store.save_renewal_state(name, renewal_state, next_action_at=run.services.clock.now())
    result = deliver([name], run)[0]
    update_next_action(name, run)
    return _report([(version, result)])


def deploy(run: Run, names: tuple[str, ...], *, pending: bool) -> Report:
    """Deploy certificates again; with `pending`, only those with a pending deployment.

    A certificate that another process has locked is waited for if it was named, else skipped.
    """
    store = run.services.store
    chosen = require(run, names) or tuple(store.names())
    timeout = run.services.settings.seconds("lock_timeout") if names else 0
    wanted: list[str] = []
    skipped: list[Outcome] = []
    for name in chosen:
        try:
            run.lock(name, timeout=timeout)
        except LockHeld as busy:
            if names:
                raise
            skipped.append(Outcome(name, "busy", reason=busy.message))
            continue
        status = store.status(name)
        if status.live is not None and (status.undeployed or not pending):
            wanted.append(name)
        elif status.live is None and name in names:
            raise UsageError(
                f"{name} has no certificate to deploy yet",
                hint=f"To request one, run: certctl renew {name}",
            )
        else:
            run.release(name)
    results = deliver(wanted, run) if wanted else []
    for result in results:
        if result.version:
            update_next_action(result.name, run)
    live = [store.status(result.name).live for result in results]
    return _report([(v, r) for v, r in zip(live, results, strict=True) if v is not None], skipped)


def require_deletable(run: Run, name: str) -> None:
    """Raise `UnknownCertificate` if there is nothing to delete; the remains of an interrupted
    deletion can be deleted.
    """
    if not run.services.store.versions(certificate_name(name)):
        require(run, (name,))


def delete(run: Run, name: str) -> None:
    """Delete a certificate: its spec first, so that it is not renewed, then its files."""
    require_deletable(run, name)
    run.lock(name, timeout=run.services.settings.seconds("lock_timeout"))
    run.services.store.delete(name)


def _older(run: Run, name: str, live: int | None, number: int | None) -> Version:
    versions = {version.number: version for version in run.services.store.versions(name)}
    if number is None:
        older = [each for each in versions if live is None or each < live]
        if not older:
            raise UsageError(
                f"{name} has no version older than the live one",
                hint=f"List its versions with: certctl show {name}",
                code="usage.unknown_version",
            )
        number = max(older)
    if number not in versions:
        raise UsageError(
            f"{name} has no version {number}; it has {', '.join(map(str, sorted(versions)))}",
            hint=f"List its versions with: certctl show {name}",
            code="usage.unknown_version",
        )
    return versions[number]


def _refuse_unfit(run: Run, version: Version, status: CertificateStatus) -> None:
    renewal_state = status.renewal_state
    reason = None
    if status.live is not None and version.number == status.live.number:
        reason = "is already live"
    elif version.facts.not_after <= run.services.clock.now():
        reason = f"expired on {version.facts.not_after:%Y-%m-%d}"
    elif version.number in renewal_state.revoked:
        reason = "was revoked"
    elif version.facts.key_sha256 in renewal_state.compromised_keys:
        reason = "has a key that was compromised"
    if reason is not None:
        raise UsageError(
            f"version {version.number} of {version.name} {reason}",
            hint=f"List its versions with: certctl show {version.name}. To get a new one: "
            f"certctl renew --force {version.name}",
            name=version.name,
            code="usage.unfit_version",
        )


def _report(done: list[tuple[Version, DeployResult]], skipped: Sequence[Outcome] = ()) -> Report:
    outcomes = tuple(
        Outcome(
            result.name,
            "deployed",
            tuple(each.value for each in version.facts.identifiers),
            version,
            result,
        )
        for version, result in done
    )
    outcomes = (*outcomes, *skipped)
    return Report(outcomes, considered=len(outcomes))
