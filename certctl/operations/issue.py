"""Issue a certificate for these names, new or changed; nothing is ordered unless it is due.

Issuing again for the same names uses the same certificate; for other names, it is changed after a
confirmation. Options given again are saved and deployed; options left out keep their values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from certctl.engine.delivery.former_targets import withdraw_from_former
from certctl.engine.fulfil import fulfil
from certctl.engine.held import Held
from certctl.engine.order.other_cas import prepare_accounts
from certctl.engine.order.trial import trial
from certctl.engine.planning import Change, Upkeep
from certctl.engine.preflight import check_deployment, check_validation, check_windows
from certctl.engine.report import Report, error_of
from certctl.engine.run import Run
from certctl.engine.specs import changed, find, load, new, new_name, require
from certctl.model.errors import ConsentRequired, Declined, Interrupted, UsageError
from certctl.model.identifiers import Identifier
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import CertificateSpec
from certctl.model.values import Value
from certctl.operations.secure_spec import refuse_more_names, warn_of_fewer_names
from certctl.rules import x509
from certctl.rules.credentials import TABLE, from_environment
from certctl.rules.settings import Source


@dataclass(frozen=True)
class IssueRequest:
    """What the caller asked for; `given` holds the options by key, with absolute paths.

    `confirmed`: the user has confirmed to replace the names of an existing certificate, those in
    `confirmed_from` unless that is None. Unless `deploys_changes`, changed options of the
    deployment wait for the next version.
    """

    identifiers: tuple[Identifier, ...]
    name: str | None = None
    given: Mapping[str, Value] | None = None
    csr: bytes | None = None
    force: bool = False
    confirmed: bool = False
    confirmed_from: tuple[str, ...] | None = None
    dry_run: bool = False
    deploys_changes: bool = True


@dataclass(frozen=True)
class _Wanted:
    """A certificate that was asked for: its spec as of now, and again once it is locked; `before`
    is the one that it had.
    """

    spec: CertificateSpec
    spec_under_lock: Callable[[Held], CertificateSpec]
    request: IssueRequest
    before: CertificateSpec | None = None

    @property
    def change(self) -> Change:
        """What is wanted of the certificate."""
        upkeep = Upkeep(
            self.spec_under_lock,
            force=self.request.force,
            force_stopped=True,
            by_hand=True,
            deploys_changes=self.request.deploys_changes,
        )
        return Change(self.spec.name, upkeep, by_hand=True, csr=self.request.csr)


def issue(request: IssueRequest, run: Run) -> Report:
    """Issue and deploy one certificate, or report that nothing is due.

    Raises `UsageError`, `ConfigurationError`, `ConsentRequired` and `LockHeld` before anything is
    done.
    """
    spec, existing = _checked_spec(request, run)
    check_secured(spec, existing, run)
    if request.dry_run:
        change = Change(
            spec.name,
            lambda _held, run: trial(spec, run),
            by_hand=True,
            dry_run=True,
            csr=request.csr,
        )
        return fulfil([change], run, considered=1)
    confirmed = _confirm_names(spec, existing, request, run)
    wanted = _Wanted(
        spec, lambda held: _confirmed_spec(request, held, confirmed, run), request, existing
    )
    return _issued([wanted], run)


def prepare(request: IssueRequest, run: Run) -> None:
    """Do what `issue` does before it orders anything: check the request, and get an account, for
    which the user may have to agree to the CA's terms.

    Raises what `issue` raises before anything is done.
    """
    spec, _ = _checked_spec(request, run)
    prepare_accounts([spec], run)


def _checked_spec(
    request: IssueRequest, run: Run
) -> tuple[CertificateSpec, CertificateSpec | None]:
    """Return the spec that the request describes, once it is checked, and the existing one."""
    identifiers = _identifiers(request)
    existing = find(run, request.name, identifiers)
    name = new_name(run, request.name, identifiers) if existing is None else existing.name
    spec = _requested_spec(request, name, existing, run)
    _check(spec, existing, request, run)
    return spec, existing


def edit(
    run: Run,
    names: tuple[str, ...],
    add: tuple[Identifier, ...],
    remove: tuple[Identifier, ...],
    given: Mapping[str, Value],
) -> Report:
    """Change certificates: names to add and remove, and new options; order and deploy what that
    makes necessary. Nothing is done unless all of them can be changed.

    Raises `UsageError` if a name to remove is not in a certificate, or if no name would remain.
    """
    names = require(run, names)
    return _issued([_edited(name, add, remove, given, run) for name in names], run)


def edited_specs(
    run: Run,
    names: Sequence[str],
    add: tuple[Identifier, ...],
    remove: tuple[Identifier, ...],
    given: Mapping[str, Value],
) -> dict[str, CertificateSpec]:
    """Return the specifications that `edit` would give certificates, by name. Raises as it does."""
    chosen = require(run, tuple(names))
    return {name: _edited(name, add, remove, given, run).spec for name in chosen}


def _edited(
    name: str,
    add: tuple[Identifier, ...],
    remove: tuple[Identifier, ...],
    given: Mapping[str, Value],
    run: Run,
) -> _Wanted:
    def edited(saved: CertificateSpec) -> tuple[IssueRequest, CertificateSpec]:
        identifiers = _edited_names(saved, add, remove)
        # an edit turns renewal on only if it says so
        options = given if saved.autorenew else {"autorenew": False, **given}
        request = IssueRequest(identifiers, name=name, given=options, confirmed=True)
        return request, _requested_spec(request, name, saved, run)

    existing = load(run, name)
    request, spec = edited(existing)
    _check(spec, existing, request, run)
    check_secured(spec, existing, run)
    return _Wanted(spec, lambda held: edited(held.spec)[1], request, existing)


def _edited_names(
    spec: CertificateSpec, add: tuple[Identifier, ...], remove: tuple[Identifier, ...]
) -> tuple[Identifier, ...]:
    absent = [each.value for each in remove if each not in spec.identifiers]
    if absent:
        raise UsageError(
            f"{spec.name} does not contain {', '.join(absent)}",
            hint=f"See its names with: certctl show {spec.name}",
            name=spec.name,
        )
    kept = tuple(each for each in spec.identifiers if each not in remove)
    identifiers = tuple(dict.fromkeys((*kept, *add)))
    if not identifiers:
        raise UsageError(
            f"{spec.name} would have no names left",
            hint=f"To delete it, run: certctl delete {spec.name}",
            name=spec.name,
        )
    return identifiers


def _check(
    spec: CertificateSpec, existing: CertificateSpec | None, request: IssueRequest, run: Run
) -> None:
    """Check that the certificate could be deployed, and validated if that is being set up."""
    check_deployment(spec, run)
    given = request.given or {}
    if {"order_window", "deploy_window"} & given.keys():
        check_windows(spec, run)
    if existing is None or any(key.startswith(("challenge.", "dns.")) for key in given):
        check_validation(spec, run)


def check_secured(spec: CertificateSpec, existing: CertificateSpec | None, run: Run) -> None:
    """Check that a web server that `certctl secure` has changed goes on with changed names."""
    if existing is not None and existing.identifiers != spec.identifiers:
        before = [each.value for each in existing.identifiers]
        refuse_more_names(spec, before, run)
        warn_of_fewer_names(spec, before, run)


def _issued(wanted: Sequence[_Wanted], run: Run) -> Report:
    specs = {each.spec.name: each.spec for each in wanted}
    before = {each.spec.name: each.before for each in wanted}
    try:
        prepare_accounts(list(specs.values()), run)
    except Interrupted as stopped:
        return Report(errors=(stopped,), considered=len(wanted), interrupted=True)
    _warn_of_owners(wanted, run)
    report = fulfil([each.change for each in wanted], run, considered=len(wanted))
    for outcome in report.outcomes:
        if outcome.action == "issued":
            _warn_of_environment_credentials(specs[outcome.name], run)
        if error_of(outcome) is None:
            withdraw_from_former(before[outcome.name], specs[outcome.name], run)
    return report


def _warn_of_owners(wanted: Sequence[_Wanted], run: Run) -> None:
    """Warn where a change is made by hand to what `apply` keeps as a text says."""
    for each in wanted:
        before, spec = each.before, each.spec
        if before is None or before.managed_by is None:
            continue
        if (before.chosen, before.identifiers) != (spec.chosen, spec.identifiers):
            run.warn(
                f"the next `certctl apply` of {before.managed_by} undoes this change, unless it is"
                " made in that text too",
                spec.name,
            )


def _identifiers(request: IssueRequest) -> tuple[Identifier, ...]:
    """Return the names of the certificate. Raises `UsageError`."""
    identifiers = request.identifiers
    if request.csr is not None:
        if (request.given or {}).get("common_name"):
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
    if not identifiers:
        raise UsageError("no name was given", hint="For example: certctl issue example.com")
    return identifiers


def _requested_spec(
    request: IssueRequest, name: str, existing: CertificateSpec | None, run: Run
) -> CertificateSpec:
    """Return the spec that the request describes: the existing one with changes, or a new one."""
    given, identifiers = dict(request.given or {}), _identifiers(request)
    if request.csr is not None:
        given["csr"] = x509.read_csr(request.csr).sha256
    if existing is None:
        return new(run, name, identifiers, given)
    # Issuing manually turns renewal back on after `revoke --stop`.
    chosen = {**existing.chosen}
    chosen.pop("autorenew", None)
    if request.csr is None and "key_type" in given:
        chosen.pop("csr", None)
    return changed(run, replace(existing, chosen=chosen), identifiers, given)


def _confirm_names(
    spec: CertificateSpec, existing: CertificateSpec | None, request: IssueRequest, run: Run
) -> str:
    """Ask for confirmation if an existing certificate's names would change.

    Returns the difference that was confirmed, "" if there is none. Raises `ConsentRequired`.
    """
    difference = _difference(spec, existing)
    if request.confirmed or not difference:
        return difference
    answer = run.services.ask(
        f"{spec.name} already exists with other names:\n{difference}\nChange it?"
    )
    if not answer:
        raise (ConsentRequired if answer is None else Declined)(
            f"{spec.name} already exists with other names; nothing was changed:\n{difference}",
            hint="Change it with --yes, or create another certificate with --name NAME.",
            name=spec.name,
        )
    return difference


def _difference(spec: CertificateSpec, existing: CertificateSpec | None) -> str:
    """Return one line for each name that would be added to or removed from the certificate."""
    if existing is None:
        return ""
    old = existing.identifiers
    added = [f"  + {each.value}" for each in spec.identifiers if each not in old]
    removed = [f"  - {each.value}" for each in old if each not in spec.identifiers]
    return "\n".join([*added, *removed])


def _confirmed_spec(request: IssueRequest, held: Held, confirmed: str, run: Run) -> CertificateSpec:
    """Return the spec again now that the lock is held: another process may have changed it.

    The user is not asked again while other processes wait for the lock. Raises `ConsentRequired`
    if the change would now differ from the one that was confirmed.
    """
    spec = _requested_spec(request, held.name, held.saved, run)
    has = set() if held.saved is None else {each.value for each in held.saved.identifiers}
    agreed = request.confirmed
    if request.confirmed_from is not None:
        agreed = set(request.confirmed_from) == has
    known = {""} if request.confirmed else {"", confirmed}
    if agreed or _difference(spec, held.saved) in known:
        return spec
    raise ConsentRequired(
        f"another process changed {spec.name} in the meantime; nothing was done",
        hint="Run the same command again.",
        name=spec.name,
    )


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
