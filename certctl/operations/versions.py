"""Manual operations on versions: roll back to an old one, deploy again, delete a certificate."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from certctl.engine.current import summary_of
from certctl.engine.delivery.former_targets import withdraw_from_former
from certctl.engine.delivery.live_version import activate_wanted
from certctl.engine.fulfil import fulfil
from certctl.engine.held import Held
from certctl.engine.planning import Change
from certctl.engine.report import Report
from certctl.engine.run import Run
from certctl.engine.second_files import require_unused_second
from certctl.engine.specs import require
from certctl.model.errors import CertctlError, DeployFailed, UsageError
from certctl.model.names import certificate_name
from certctl.model.spec import CertificateSpec
from certctl.operations.in_use import require_unused
from certctl.rules.plan import Activate, Plan, deployment_again
from certctl.rules.rollback_plan import rollback as rollback_plan


def rollback(run: Run, names: tuple[str, ...], number: int | None) -> Report:
    """Make an older version of certificates live again (by default the previous one) and deploy it.

    Renewal pauses until a sixth of its lifetime is left. Raises `UsageError` for a version that is
    expired or revoked, or whose key was compromised.
    """
    names = require(run, names)

    def planned(held: Held, run: Run) -> Plan:
        now = run.services.clock.now()
        found = rollback_plan(held.spec, held.status, held.versions, number, now)
        for each in found.all(Activate):
            second = each.version.second
            require_unused_second(held, second.family if second else None, run)
        return found

    changes = [Change(each, planned, by_hand=True) for each in names]
    return fulfil(changes, run, considered=len(changes))


def deploy(run: Run, names: tuple[str, ...], *, pending: bool) -> Report:
    """Deploy certificates again; with `pending`, only those with a pending deployment.

    A certificate that another process has locked is waited for if it was named, else skipped.
    Raises `UsageError` for a named certificate that has no version yet.
    """
    chosen = require(run, names) or tuple(run.services.records.names())

    def planned(held: Held, run: Run) -> Plan:
        activate_wanted(held, run)
        if held.live is None and names:
            raise UsageError(
                f"{held.name} has no certificate to deploy yet",
                hint=f"To request one, run: certctl renew {held.name}",
                name=held.name,
            )
        return deployment_again(_spec(held), held.status, pending_only=pending)

    changes = [Change(name, planned, by_hand=bool(names)) for name in chosen]
    return _without_unchanged(fulfil(changes, run, considered=len(changes)))


def require_deletable(run: Run, name: str, *, force: bool = False) -> None:
    """Raise `UnknownCertificate` if there is nothing to delete, and `UsageError` if a web server
    uses it, unless `force` is set. The remains of an interrupted deletion can be deleted.
    """
    if not summary_of(certificate_name(name), run.services).versions:
        require(run, (name,))
    if not force:
        require_unused(name, run, ", or delete it anyway with --force")


def delete(run: Run, name: str, *, force: bool = False) -> None:
    """Delete a certificate: its spec first, so that it is not renewed, then its files.

    Raises `UsageError` if the configuration of a web server names them, unless `force` is set.
    """
    require_deletable(run, name, force=force)
    held, before = run.hold(name, timeout=run.services.settings.seconds("lock_timeout")), None
    with suppress(CertctlError):  # a spec that is gone or cannot be read
        before = held.spec
    held.delete()
    withdraw_from_former(before, None, run)


def _spec(held: Held) -> CertificateSpec:
    """Return the spec. Raises `DeployFailed` if it is not valid."""
    try:
        return held.spec
    except CertctlError as error:
        raise DeployFailed(
            f"{held.name} cannot be deployed: {error.message}",
            hint=error.hint or f"For details, run: certctl show {held.name}",
            name=held.name,
            code=error.code,
        ) from error


def _without_unchanged(report: Report) -> Report:
    """Return the report without the certificates that need no deployment."""
    outcomes = tuple(each for each in report.outcomes if each.action != "unchanged")
    return replace(report, outcomes=outcomes, considered=len(outcomes))
