"""Issue a certificate for these names, new or changed; nothing is ordered unless it is due.

Issuing again for the same names uses the same certificate; for other names, it is changed after a
confirmation. Options given again are saved and deployed; options left out keep their values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from certctl.engine.delivery.deliver import deliver
from certctl.engine.delivery.hooks import run_outstanding_post_hooks, run_post_hooks, run_pre_hooks
from certctl.engine.delivery.live_version import activate_wanted, mark_undeployed
from certctl.engine.dry_run import dry_run, require_dry_run
from certctl.engine.memory import record_failure, update_next_action
from certctl.engine.order.accounts import use_account
from certctl.engine.order.answer_path import try_answer_path
from certctl.engine.order.obtain import names_missing, obtain
from certctl.engine.order.rate_limits import order_for, warn_of_limits
from certctl.engine.order.stateless import share_key
from certctl.engine.preflight import check_deployment, check_validation
from certctl.engine.report import Report
from certctl.engine.run import Run
from certctl.engine.specs import (
    changed,
    find,
    load,
    new,
    new_name,
    protect_public,
    require,
)
from certctl.model.certificate import RenewalDecision
from certctl.model.errors import CertctlError, ConsentRequired, Interrupted, UsageError
from certctl.model.identifiers import Identifier
from certctl.model.lazy_dataclass import dataclass
from certctl.model.run import Outcome
from certctl.model.spec import CertificateSpec
from certctl.model.status import CertificateStatus
from certctl.model.values import Value
from certctl.rules import x509
from certctl.rules.credentials import TABLE, from_environment
from certctl.rules.renewal import decide
from certctl.rules.settings import Source


@dataclass(frozen=True)
class IssueRequest:
    """What the caller asked for; `given` holds the options by key, with absolute paths.

    `confirmed`: the user has confirmed to replace the names of an existing certificate.
    """

    identifiers: tuple[Identifier, ...]
    name: str | None = None
    given: Mapping[str, Value] | None = None
    csr: bytes | None = None
    force: bool = False
    confirmed: bool = False
    dry_run: bool = False


def issue(request: IssueRequest, run: Run) -> Report:
    """Issue and deploy one certificate, or report that nothing is due."""
    spec = _requested_spec(request, run)
    check_deployment(spec, run)
    if _is_set_up(spec, request, run):
        check_validation(spec, run)
    errors: list[CertctlError] = []
    try:
        if request.dry_run:
            outcome = _dry_run(spec, request, run, errors)
        else:
            confirmed = _confirm_names(spec, request, run)
            share_key(spec, run)
            use_account(run, spec.ca, spec.ca_bundle, spec.account)
            run.lock(spec.name, timeout=run.services.settings.seconds("lock_timeout"))
            spec = _recheck(spec, request, confirmed, run)
            errors += run_outstanding_post_hooks(run)
            outcome = _issue(spec, request, run, errors)
    except Interrupted as stopped:
        return Report(errors=(*errors, stopped), considered=1, interrupted=True)
    try_answer_path(spec, outcome, run)
    return Report((outcome,), tuple(errors), considered=1, dry_run=request.dry_run)


def _is_set_up(spec: CertificateSpec, request: IssueRequest, run: Run) -> bool:
    """Return whether a command sets up domain validation, or tests it."""
    return (
        request.dry_run
        or spec.name not in run.services.store.names()
        or any(key.startswith(("challenge.", "dns.")) for key in request.given or {})
    )


def edit(
    run: Run,
    name: str,
    add: tuple[Identifier, ...],
    remove: tuple[Identifier, ...],
    given: Mapping[str, Value],
) -> IssueRequest:
    """Return the request that changes a certificate: names to add and remove, and new options.

    The certificate stays locked from here on, so that no concurrent change is lost. Raises
    `UsageError` if a name to remove is not in the certificate, or if no name would remain.
    """
    require(run, (name,))
    run.lock(name, timeout=run.services.settings.seconds("lock_timeout"))
    spec = load(run, name)
    absent = [each.value for each in remove if each not in spec.identifiers]
    if absent:
        raise UsageError(
            f"{name} does not contain {', '.join(absent)}",
            hint=f"See its names with: certctl show {name}",
        )
    kept = tuple(each for each in spec.identifiers if each not in remove)
    identifiers = tuple(dict.fromkeys((*kept, *add)))
    if not identifiers:
        raise UsageError(
            f"{name} would have no names left", hint=f"To delete it, run: certctl delete {name}"
        )
    if not spec.autorenew:
        given = {"autorenew": False, **given}  # an edit turns renewal on only if it says so
    return IssueRequest(identifiers, name=name, given=given, confirmed=True)


def _requested_spec(request: IssueRequest, run: Run) -> CertificateSpec:
    """Return the spec that the request describes: an existing one with changes, or a new one."""
    given = dict(request.given or {})
    identifiers = request.identifiers
    if request.csr is not None:
        if given.get("common_name"):
            raise UsageError(
                "--csr and --common-name cannot be combined",
                hint="The signing request has the subject already.",
                code="usage.csr",
            )
        csr = x509.read_csr(request.csr)
        identifiers = identifiers or csr.identifiers
        if set(identifiers) != set(csr.identifiers):
            raise UsageError(
                "the names given differ from those in the certificate signing request",
                hint="Omit them: the names are taken from the signing request.",
                code="usage.csr",
            )
        given["csr"] = csr.sha256
    if not identifiers:
        raise UsageError("no name was given", hint="For example: certctl issue example.com")
    existing = find(run, request.name, identifiers)
    if existing is None:
        name = new_name(run, request.name, identifiers)
        return new(run, name, identifiers, given)
    # Issuing manually turns renewal back on after `revoke --stop`.
    chosen = {**existing.chosen}
    chosen.pop("autorenew", None)
    if request.csr is None and "key_type" in given:
        chosen.pop("csr", None)
    return changed(run, replace(existing, chosen=chosen), identifiers, given)


def _confirm_names(spec: CertificateSpec, request: IssueRequest, run: Run) -> str:
    """Ask for confirmation if an existing certificate's names would change.

    Returns the difference that was confirmed, "" if there is none. Raises `ConsentRequired`.
    """
    difference = _difference(spec, run)
    if request.confirmed or not difference:
        return difference
    answer = run.services.ask(
        f"{spec.name} already exists with other names:\n{difference}\nChange it?"
    )
    if not answer:
        raise ConsentRequired(
            f"{spec.name} already exists with other names; nothing was changed:\n{difference}",
            hint="Change it with --yes, or create another certificate with --name NAME.",
            name=spec.name,
        )
    return difference


def _difference(spec: CertificateSpec, run: Run) -> str:
    """Return one line for each name that would be added to or removed from the certificate."""
    if spec.name not in run.services.store.names():
        return ""
    old = load(run, spec.name).identifiers
    added = [f"  + {each.value}" for each in spec.identifiers if each not in old]
    removed = [f"  - {each.value}" for each in old if each not in spec.identifiers]
    return "\n".join([*added, *removed])


def _recheck(
    spec: CertificateSpec, request: IssueRequest, confirmed: str, run: Run
) -> CertificateSpec:
    """Return the spec again now that the lock is held: another process may have changed it.

    The user is not asked again while other processes wait for the lock. Raises `ConsentRequired`
    if the change would now differ from the one that was confirmed.
    """
    now = _requested_spec(request, run)
    if now.name == spec.name and (request.confirmed or _difference(now, run) in {"", confirmed}):
        return now
    raise ConsentRequired(
        f"another process changed {spec.name} in the meantime; nothing was done",
        hint="Run the same command again.",
        name=spec.name,
    )


def _issue(
    spec: CertificateSpec, request: IssueRequest, run: Run, errors: list[CertctlError]
) -> Outcome:
    """Order and deploy with the lock held, starting from the certificate's current state."""
    store = run.services.store
    status = activate_wanted(spec.name, run)
    protect_public(spec, status, force=request.force)
    if spec.name in store.names() and spec != load(run, spec.name):
        # A manual change ends the pause that follows a rollback.
        status = replace(status, renewal_state=replace(status.renewal_state, paused_until=None))
    decision = decide(spec, status, run.services.clock.now())
    if not (decision.due or request.force):
        return _nothing_due(spec, request, status, decision, run)
    outcome = Outcome(spec.name, "issued", _domains(spec), reason=decision.why)
    warn_of_limits([(spec, order_for(spec, status, run.services.clock.now()))], run)
    run_hooks = run_pre_hooks([spec], run)
    try:
        if spec.name in run_hooks.refused:
            raise run_hooks.refused[spec.name]
        version = obtain(spec, run, request.csr, forced=request.force)
        missing = names_missing(spec, version, run)
        outcome = replace(outcome, version=version, incomplete=missing)
        _warn_of_environment_credentials(spec, run)
        outcome = replace(outcome, deploy=deliver([spec.name], run)[0])
        update_next_action(spec.name, run)
    except Interrupted as stopped:
        outcome = replace(outcome, action="failed", error=stopped)
        raise
    except CertctlError as error:
        outcome = replace(outcome, action="failed", error=error)
        record_failure(spec.name, error, run)
    finally:
        errors += run_post_hooks(run_hooks, [outcome], run)
    return outcome


def _warn_of_environment_credentials(spec: CertificateSpec, run: Run) -> None:
    """Warn of credentials that came from the environment: a run from cron will not have them."""
    settings = run.services.settings
    for key in spec.challenge.plugin:
        option = settings.table[key]
        if option.secret and settings.sources.get(key) is Source.ENVIRONMENT:
            run.warn(
                f"{option.environment} came from the environment and will be missing when cron "
                "runs certctl; store it in a file, or set it there too",
                spec.name,
            )
    provider, own = spec.challenge.dns_provider, spec.challenge.dns_credentials
    if provider is None or own is not None or spec.challenge.plugin:
        return
    variables = sorted(from_environment(provider, settings.dns.variables))
    if variables:
        run.warn(
            f"{', '.join(variables)} came from the environment and will be missing when cron runs "
            f"certctl; store them in [{TABLE}.NAME] of certctl.toml, or set them there too",
            spec.name,
        )


def _nothing_due(
    spec: CertificateSpec,
    request: IssueRequest,
    status: CertificateStatus,
    decision: RenewalDecision,
    run: Run,
) -> Outcome:
    """Save changed options and deploy if that is needed; order nothing."""
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


def _dry_run(
    spec: CertificateSpec, request: IssueRequest, run: Run, errors: list[CertctlError]
) -> Outcome:
    outcome = Outcome(spec.name, "dry-run", _domains(spec))
    require_dry_run(spec, run)  # fail before any hook runs
    run.lock(spec.name, timeout=run.services.settings.seconds("lock_timeout"))
    run_hooks = run_pre_hooks([spec], run)
    try:
        if spec.name in run_hooks.refused:
            raise run_hooks.refused[spec.name]
        outcome = replace(outcome, reason=dry_run(spec, run, request.csr))
    except Interrupted:
        raise
    except CertctlError as error:
        outcome = replace(outcome, action="failed", error=error)
    finally:
        errors += run_post_hooks(run_hooks, [outcome], run)
    return outcome


def _domains(spec: CertificateSpec) -> tuple[str, ...]:
    return tuple(each.value for each in spec.identifiers)
