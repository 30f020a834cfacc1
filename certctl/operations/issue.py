"""Issue: a certificate for these names, new or changed; nothing is ordered where nothing is due.

Asked again with the same names it is the same certificate, asked with others it is changed after a
confirmation. Options given again are saved and deployed, options left out stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from certctl import x509
from certctl.credentials import TABLE, from_environment
from certctl.errors import CertctlError, ConsentRequired, Interrupted, UsageError
from certctl.models import (
    CertificateSpec,
    CertificateStatus,
    Identifier,
    Outcome,
    RenewalDecision,
    Value,
)
from certctl.operations.accounts import ensure_account
from certctl.operations.deliver import deliver
from certctl.operations.dry_run import dry_run
from certctl.operations.live_version import activate_wanted, mark_undeployed
from certctl.operations.memory import record_failure, update_next_action
from certctl.operations.obtain import names_missing, obtain
from certctl.operations.preflight import check_deployment
from certctl.operations.rate_limit_forecast import order_for, warn_of_limits
from certctl.operations.report import Report
from certctl.operations.run import Run
from certctl.operations.run_hooks import after, before, run_outstanding_post_hooks
from certctl.operations.specs import (
    changed,
    find,
    load,
    new,
    new_name,
    protect_public,
    require,
    staging_of,
)
from certctl.renewal import decide
from certctl.settings import Source


@dataclass(frozen=True)
class IssueRequest:
    """What the caller asked for; `given` holds the options by key, paths absolute.

    `confirmed` answers the question whether other names may replace the old ones.
    """

    identifiers: tuple[Identifier, ...]
    name: str | None = None
    given: Mapping[str, Value] | None = None
    csr: bytes | None = None
    force: bool = False
    confirmed: bool = False
    dry_run: bool = False


def issue(request: IssueRequest, run: Run) -> Report:
    """Issue and deploy one certificate, or say that nothing is due."""
    spec = _wanted(request, run)
    check_deployment(spec, run)
    errors: list[CertctlError] = []
    try:
        if request.dry_run:
            outcome = _self_test(spec, request, run, errors)
        else:
            agreed = _confirm_names(spec, request, run)
            ensure_account(run, spec.ca, spec.ca_bundle, spec.account)
            run.lock(spec.name, timeout=run.services.settings.seconds("lock_timeout"))
            spec = _wanted_still(spec, request, agreed, run)
            errors += run_outstanding_post_hooks(run)
            outcome = _issue(spec, request, run, errors)
    except Interrupted as stopped:
        return Report(errors=(*errors, stopped), considered=1, interrupted=True)
    return Report((outcome,), tuple(errors), considered=1, dry_run=request.dry_run)


def edit(
    run: Run,
    name: str,
    add: tuple[Identifier, ...],
    remove: tuple[Identifier, ...],
    given: Mapping[str, Value],
) -> IssueRequest:
    """Return the request that changes a certificate: names added and removed, options given anew.

    The certificate is locked from here on, so that no other change is lost. Raises `UsageError`
    where a name to remove is not there, or none would be left.
    """
    require(run, (name,))
    run.lock(name, timeout=run.services.settings.seconds("lock_timeout"))
    spec = load(run, name)
    absent = [each.value for each in remove if each not in spec.identifiers]
    if absent:
        raise UsageError(f"{name} does not hold {', '.join(absent)}", hint=f"certctl show {name}")
    kept = tuple(each for each in spec.identifiers if each not in remove)
    identifiers = tuple(dict.fromkeys((*kept, *add)))
    if not identifiers:
        raise UsageError(
            f"no name would be left in {name}", hint=f"To be rid of it: certctl delete {name}"
        )
    return IssueRequest(identifiers, name=name, given=given, confirmed=True)


def _wanted(request: IssueRequest, run: Run) -> CertificateSpec:
    """Return the spec that the request means: that of an existing certificate changed, or a new
    one.
    """
    given = dict(request.given or {})
    identifiers = request.identifiers
    if request.csr is not None:
        csr = x509.read_csr(request.csr)
        identifiers = identifiers or csr.identifiers
        if set(identifiers) != set(csr.identifiers):
            raise UsageError(
                "the names given are not those of the certificate signing request",
                hint="Leave them out: the request has them.",
                code="usage.csr",
            )
        given["csr"] = csr.sha256
    if not identifiers:
        raise UsageError("no name was given", hint="certctl issue example.com")
    existing = find(run, request.name, identifiers)
    if existing is None:
        name = new_name(run, request.name, identifiers)
        return new(run, name, identifiers, given)
    # Issuing by hand what `revoke --stop` had stopped means that it is wanted again.
    revived = {**existing.chosen}
    revived.pop("autorenew", None)
    if request.csr is None and "key_type" in given:
        revived.pop("csr", None)
    return changed(run, replace(existing, chosen=revived), identifiers, given)


def _confirm_names(spec: CertificateSpec, request: IssueRequest, run: Run) -> str:
    """Ask where the names of an existing certificate would change; return what was agreed to.

    Raises `ConsentRequired`.
    """
    difference = _difference(spec, run)
    if request.confirmed or not difference:
        return difference
    answer = run.services.ask(f"{spec.name} exists with other names:\n{difference}\nChange it?")
    if not answer:
        raise ConsentRequired(
            f"{spec.name} exists with other names; nothing was changed:\n{difference}",
            hint="Change it with --yes, or make another certificate with --name NAME.",
            name=spec.name,
        )
    return difference


def _difference(spec: CertificateSpec, run: Run) -> str:
    """Return a line for each name that an existing certificate would gain or lose."""
    if spec.name not in run.services.store.names():
        return ""
    before_now = load(run, spec.name).identifiers
    added = [f"  + {each.value}" for each in spec.identifiers if each not in before_now]
    removed = [f"  - {each.value}" for each in before_now if each not in spec.identifiers]
    return "\n".join([*added, *removed])


def _wanted_still(
    spec: CertificateSpec, request: IssueRequest, agreed: str, run: Run
) -> CertificateSpec:
    """Return what the request means now that the lock is held: somebody may have been quicker.

    Nobody is asked again while others wait. Raises `ConsentRequired` where the certificate would
    change otherwise than was agreed to.
    """
    now = _wanted(request, run)
    if now.name == spec.name and (request.confirmed or _difference(now, run) in {"", agreed}):
        return now
    raise ConsentRequired(
        f"{spec.name} was changed by another process meanwhile; nothing was done",
        hint="Run the same command again.",
        name=spec.name,
    )


def _issue(
    spec: CertificateSpec, request: IssueRequest, run: Run, errors: list[CertctlError]
) -> Outcome:
    """Order and deploy with the lock held; what another process did meanwhile is seen here."""
    store = run.services.store
    status = activate_wanted(spec.name, run)
    protect_public(spec, status, force=request.force)
    if spec.name in store.names() and spec != load(run, spec.name):
        # Asking for something else by hand ends the pause that a rollback began.
        status = replace(status, renewal_state=replace(status.renewal_state, paused_until=None))
    decision = decide(spec, status, run.services.clock.now())
    if not (decision.due or request.force):
        return _nothing_due(spec, request, status, decision, run)
    outcome = Outcome(spec.name, "issued", _domains(spec), reason=decision.why)
    warn_of_limits([(spec, order_for(spec, status, run.services.clock.now()))], run)
    run_hooks = before([spec], run)
    try:
        if spec.name in run_hooks.refused:
            raise run_hooks.refused[spec.name]
        version = obtain(spec, run, request.csr)
        missing = names_missing(spec, version, run)
        outcome = replace(outcome, version=version, incomplete=missing)
        _warn_of_fleeting_secrets(spec, run)
        outcome = replace(outcome, deploy=deliver([spec.name], run)[0])
        update_next_action(spec.name, run)
    except Interrupted as stopped:
        outcome = replace(outcome, action="failed", error=stopped)
        raise
    except CertctlError as error:
        outcome = replace(outcome, action="failed", error=error)
        record_failure(spec.name, error, run)
    finally:
        errors += after(run_hooks, [outcome], run)
    return outcome


def _warn_of_fleeting_secrets(spec: CertificateSpec, run: Run) -> None:
    """Say which credentials a run from cron will lack: they are kept in no file of ours."""
    settings = run.services.settings
    for key in spec.challenge.plugin:
        option = settings.table[key]
        if option.secret and settings.sources.get(key) is Source.ENVIRONMENT:
            run.warn(
                f"{option.environment} came from the environment, which cron will not have; "
                "keep it in a file, or set it there too",
                spec.name,
            )
    provider, own = spec.challenge.dns_provider, spec.challenge.dns_credentials
    if provider is None or own is not None or spec.challenge.plugin:
        return
    fleeting = sorted(from_environment(provider, settings.dns.variables))
    if fleeting:
        run.warn(
            f"{', '.join(fleeting)} came from the environment, which cron will not have; "
            f"keep them in [{TABLE}.NAME] of certctl.toml, or set them there too",
            spec.name,
        )


def _nothing_due(
    spec: CertificateSpec,
    request: IssueRequest,
    status: CertificateStatus,
    decision: RenewalDecision,
    run: Run,
) -> Outcome:
    """Save options that were given again, deploy them or what is owed, and order nothing."""
    store = run.services.store
    if request.csr is not None:
        store.save_csr(spec.name, request.csr)
    old = load(run, spec.name) if spec.name in store.names() else None
    outcome = Outcome(
        spec.name,
        "unchanged",
        _domains(spec),
        status.live,
        reason=decision.why,
        renews_at=decision.at,
    )
    if old is not None and spec.chosen == old.chosen and not status.undeployed:
        return outcome
    redeploy = status.undeployed or old is None or spec.deploy != old.deploy
    if redeploy:
        mark_undeployed(spec.name, run)
    store.save_spec(spec)
    if old is None or (spec.key_group, spec.key_mode) != (old.key_group, old.key_mode):
        store.grant_access(spec)
    result = deliver([spec.name], run)[0] if redeploy else None
    update_next_action(spec.name, run)
    return replace(outcome, action="updated", deploy=result)


def _self_test(
    spec: CertificateSpec, request: IssueRequest, run: Run, errors: list[CertctlError]
) -> Outcome:
    outcome = Outcome(spec.name, "dry-run", _domains(spec))
    staging_of(spec)  # where there is none, no hook has to run to find that out
    run.lock(spec.name, timeout=run.services.settings.seconds("lock_timeout"))
    run_hooks = before([spec], run)
    try:
        if spec.name in run_hooks.refused:
            raise run_hooks.refused[spec.name]
        dry_run(spec, run, request.csr)
    except Interrupted:
        raise
    except CertctlError as error:
        outcome = replace(outcome, action="failed", error=error)
    finally:
        errors += after(run_hooks, [outcome], run)
    return outcome


def _domains(spec: CertificateSpec) -> tuple[str, ...]:
    return tuple(each.value for each in spec.identifiers)
