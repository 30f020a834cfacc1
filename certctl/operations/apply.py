"""Carries out what was planned for a desired state, and nothing else.

The specifications are saved first, so that `renew` knows of everything that fails, is interrupted
or comes later. Then all certificates are ordered side by side and deployed together. Under its
lock, each is planned again: if more would be done than was agreed to, it is skipped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from datetime import timedelta

from certctl.engine.delivery.former_targets import withdraw_from_former
from certctl.engine.delivery.live_version import activate_wanted, mark_undeployed
from certctl.engine.fulfil import fulfil
from certctl.engine.held import Held
from certctl.engine.order.other_cas import prepare_accounts
from certctl.engine.parallel import in_parallel
from certctl.engine.planning import Change
from certctl.engine.preflight import check_deployment, check_validation, check_windows
from certctl.engine.remember import remember
from certctl.engine.report import Report, error_of
from certctl.engine.run import Run
from certctl.engine.specs import refusal_of_untrusted
from certctl.model.errors import (
    AcmeError,
    CertctlError,
    ConsentRequired,
    Interrupted,
    LockHeld,
    PlanChanged,
    unexpected,
)
from certctl.model.lazy_dataclass import dataclass
from certctl.model.run import Outcome
from certctl.model.spec import CertificateSpec
from certctl.operations.forecast import Action, Forecast, Planned
from certctl.operations.in_use import require_unused
from certctl.operations.issue import check_secured
from certctl.rules.plan import (
    AskRenewalInfo,
    AwaitWindow,
    Delete,
    Plan,
    SaveSpec,
    Wait,
    Wanted,
    plan,
)
from certctl.rules.renewal import POSTPONED

_SAVED_AT_ONCE = 16
"""Specifications that are saved in parallel: each waits for the disk."""

_FREE = (Wait, AwaitWindow, AskRenewalInfo, SaveSpec)
"""Steps that need no agreement: nothing is done, or the specification is the one agreed to."""


@dataclass(frozen=True)
class _Saved:
    """What came of saving a certificate's specification: `outcome` if it ends there."""

    item: Planned
    outcome: Outcome | None = None


def apply(forecast: Forecast, run: Run) -> Report:
    """Do what is planned now, and record what comes later, for `renew`.

    Raises `ConsentRequired` before anything is done. A failure of one certificate
    stops no other, and is in the report.
    """
    items = forecast.to_do
    outcomes = [_not_done(each) for each in forecast.items if not each.does_something]
    errors: list[CertctlError] = []
    interrupted = False
    try:
        refused = _use_accounts(items, run)
        outcomes += [_failure(each, refused[each.name]) for each in items if each.name in refused]
        items = tuple(each for each in items if each.name not in refused)
        saved = _save_all([each for each in items if each.action is not Action.DELETE], run)
        outcomes += [each.outcome for each in saved if each.outcome is not None]
        now = [each.item for each in saved if each.outcome is None]
        deleted = [each for each in items if each.action is Action.DELETE]
        for group in (now, deleted):  # a name may move to another certificate before one is deleted
            if group:
                report = fulfil([_change(each) for each in group], run, considered=len(group))
                by_name = {each.name: each for each in group}
                outcomes += [_finished(each, by_name[each.name], run) for each in report.outcomes]
                errors += report.errors
                interrupted = interrupted or report.interrupted
            if interrupted:
                break
    except Interrupted as stopped:
        errors.append(stopped)
        interrupted = True
    outcomes.sort(key=lambda each: each.name)
    return Report(tuple(outcomes), tuple(errors), len(forecast.items), interrupted)


def _not_done(item: Planned) -> Outcome:
    """Return the outcome of a certificate to which nothing is done: an earlier failure counts."""
    names = tuple(each.value for each in item.spec.identifiers) if item.spec else ()
    if item.action is Action.FAILED:
        return Outcome(item.name, "failed", names, error=item.error)
    waits = next((each for each in item.steps if isinstance(each, Wait)), None)
    if waits is not None:
        return Outcome(item.name, "waiting", names, item.live, error=waits.error)
    if item.action is Action.LATER:
        at = item.at or item.opens
        return Outcome(item.name, "postponed", names, item.live, reason=item.why, renews_at=at)
    at = item.decision.at if item.decision is not None else None
    return Outcome(item.name, "unchanged", names, item.live, reason=item.why, renews_at=at)


def _use_accounts(items: Sequence[Planned], run: Run) -> dict[str, CertctlError]:
    """Get an account at each CA, for which the user may have to agree to its terms. Return the
    errors of certificates that cannot have theirs, by name. A CA that does not answer is left to
    the orders, which report it.
    """
    refused: dict[str, CertctlError] = {}
    alike: defaultdict[tuple[object, ...], list[CertificateSpec]] = defaultdict(list)
    for each in items:
        if each.spec is not None and each.orders:
            alike[each.spec.cas, each.spec.ca_bundle, each.spec.account].append(each.spec)
    for specs in alike.values():
        try:
            prepare_accounts(specs, run)
        except AcmeError as error:
            run.warn(f"no account could be registered yet: {error.message}")
        except (ConsentRequired, Interrupted):
            raise
        except CertctlError as error:
            for spec in specs:
                refused[spec.name] = copy(error)
                refused[spec.name].name = spec.name
    return refused


# -- specifications first


def _save_all(items: Sequence[Planned], run: Run) -> list[_Saved]:
    """Save the specifications, and until when their orders are postponed, in parallel."""
    return list(in_parallel(lambda each: _save(each, run), items, threads=_SAVED_AT_ONCE))


def _save(item: Planned, run: Run) -> _Saved:
    run.check()
    if not item.saves and item.at is None:
        return _Saved(item)
    try:
        if item.saves and item.spec is not None:
            check_deployment(item.spec, run)
            if any(each.endswith("_window") for each in item.spec.chosen):
                check_windows(item.spec, run)
            check_secured(item.spec, item.saved, run)
            if item.saved is None or _validation_differs(item):
                check_validation(item.spec, run)
        held = run.hold(item.name, timeout=run.services.settings.seconds("lock_timeout"))
        try:
            _save_held(item, held, run)
        finally:
            run.release(item.name)
    except Interrupted:
        raise
    except CertctlError as error:
        return _Saved(item, _failure(item, error))
    except Exception as error:  # noqa: BLE001 - one certificate never stops the others
        return _Saved(item, _failure(item, unexpected(error)))
    names = tuple(each.value for each in item.spec.identifiers) if item.spec else ()
    if item.at is not None:
        done = Outcome(item.name, "postponed", names, reason=POSTPONED, renews_at=item.at)
        return _Saved(item, done)
    if all(isinstance(each, _FREE) for each in item.steps):
        return _Saved(item, Outcome(item.name, "updated", names))
    return _Saved(item)


def _validation_differs(item: Planned) -> bool:
    return any(each.key.startswith(("challenge.", "dns.")) for each in item.differences)


def _save_held(item: Planned, held: Held, run: Run) -> None:
    """Save what was agreed to, from what it was agreed for. Raises `PlanChanged`."""
    spec = item.spec
    if spec is not None and held.saved != spec:
        if held.saved != item.saved:
            raise _plan_changed(item, "its specification has been changed")
        if held.live is not None and item.saved is not None and spec.deploy != item.saved.deploy:
            mark_undeployed(held)
        if item.csr is not None:
            held.save_csr(item.csr)
        held.save_spec(spec)
        if item.saved is not None and _access(spec) != _access(item.saved):
            held.grant_access(spec)
    state = held.renewal_state
    wanted = replace(state, postponed_until=item.at)
    if item.saves:  # a change ends the pause that follows a rollback
        wanted = replace(wanted, paused_until=None)
    held.carry(wanted)
    remember(held, run)


def _access(spec: CertificateSpec) -> tuple[str | None, int | None]:
    return spec.key_group, spec.key_mode


# -- then everything else


def _change(item: Planned) -> Change:
    planner = _deletion(item) if item.action is Action.DELETE else _agreed(item)
    return Change(item.name, planner, patient=True, csr=item.csr)


def _agreed(item: Planned) -> Callable[[Held, Run], Plan]:
    """Return what plans a certificate under its lock: only steps that were agreed to."""
    agreed = {type(each) for each in item.steps}

    def planned(held: Held, run: Run) -> Plan:
        if held.saved is None or held.saved != item.spec:
            raise _plan_changed(item, "its specification has been changed")
        activate_wanted(held, run, respect_backoff=True)
        found = plan(
            Wanted(
                held.spec,
                held.saved,
                force=item.forced and held.live is None,
                by_hand=item.saves,
                interval=run.services.machine.history().interval,
                refusal=refusal_of_untrusted(held.spec, held.live),
                pending=held.pending,
                order_timeout=timedelta(seconds=run.services.settings.seconds("order_timeout")),
                failed=held.failed,
                asks=False,
                keeps_windows=item.keeps_windows,
            ),
            held.status,
            run.services.clock.now(),
        )
        more = [each for each in found.steps if type(each) not in {*agreed, *_FREE}]
        if more:
            raise _plan_changed(item, more[0].why)
        return found

    return planned


def _deletion(item: Planned) -> Callable[[Held, Run], Plan]:
    def planned(held: Held, run: Run) -> Plan:
        if held.saved is None or held.saved != item.saved:
            raise _plan_changed(item, "its specification has been changed")
        require_unused(held.name, run)
        return Plan(held.spec, (Delete(item.why),))

    return planned


def _finished(outcome: Outcome, item: Planned, run: Run) -> Outcome:
    """Return the outcome of a certificate, once its former targets have removed what they wrote."""
    if outcome.action == "busy":
        busy = LockHeld(outcome.reason or f"{item.name} is locked by another process")
        busy.name = item.name
        return replace(outcome, action="failed", error=busy)
    if item.saves and error_of(outcome) is None:
        withdraw_from_former(item.saved, item.spec, run)
    if outcome.action == "unchanged" and item.saves:
        return replace(outcome, action="updated")
    return outcome


def _plan_changed(item: Planned, why: str) -> PlanChanged:
    return PlanChanged(
        f"{item.name} was skipped, since it is not as it was when the plan was shown: {why}",
        hint="Run the same command again. It shows what is to be done now.",
        name=item.name,
    )


def _failure(item: Planned, error: CertctlError) -> Outcome:
    error.name = error.name or item.name
    names = tuple(each.value for each in item.spec.identifiers) if item.spec else ()
    return Outcome(item.name, "failed", names, error=error)
