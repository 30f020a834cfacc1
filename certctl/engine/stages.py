"""The stages of the pipeline in `certctl.engine.fulfil`, each for a batch of certificates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from certctl.ca.directories import label
from certctl.engine.circuit_breaker import CircuitBreaker
from certctl.engine.delivery.deliver import deliver
from certctl.engine.delivery.former_targets import withdraw_from_former
from certctl.engine.delivery.hooks import (
    RunHooks,
    run_outstanding_post_hooks,
    run_post_hooks,
    run_pre_hooks,
)
from certctl.engine.delivery.live_version import mark_undeployed
from certctl.engine.held import Held
from certctl.engine.look import Item, hold_and_plan, skipped
from certctl.engine.order.ari import ask_for_renewal_info
from certctl.engine.order.obtain import Obtained, obtain
from certctl.engine.order.other_cas import with_other_failures
from certctl.engine.order.rate_limits import warn_of_limits
from certctl.engine.order.trial import validate
from certctl.engine.parallel import in_parallel
from certctl.engine.remember import record_failure, remember
from certctl.engine.revocation import revoke_version
from certctl.engine.run import Run
from certctl.engine.windows import warn_of_closed_window
from certctl.model.delivery import DeployResult
from certctl.model.errors import (
    CertctlError,
    Interrupted,
    LockHeld,
    UnknownCertificate,
    unexpected,
)
from certctl.model.events import CertificateFinished, CertificateStarted, Failed, NextCa, RunStarted
from certctl.model.run import Outcome, RevokedVersion, WindowKind, WindowWait
from certctl.rules.plan import (
    Activate,
    Delete,
    Deploy,
    Order,
    Plan,
    Revoke,
    SaveSpec,
    StopRenewal,
    Validate,
)
from certctl.rules.renewal import is_near_expiry
from certctl.rules.renewal_windows import window_is_closed

_BATCH = 200
"""Certificates that are ordered before they are deployed together: bounds the number of locks held,
and how long a new certificate waits for the others before it is deployed.
"""

_THREADS = 100
"""More than `jobs`: one that waits for DNS or for the CA uses a thread, but no slot."""

_QUERIES = 16
"""Queries for renewal windows at a time, after a deployment."""


@dataclass
class Hooks:
    """The orders between the pre and the post hooks, in `batches`; `next_cas` has the CAs that were
    asked in place of others, each with the first certificate; `done` are the outcomes,
    `interrupted` those of orders that were stopped, which the post hooks are told of as failed.
    """

    around: RunHooks
    batches: list[Sequence[Item]]
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    next_cas: dict[tuple[str, str], str] = field(default_factory=dict)
    done: list[Outcome] = field(default_factory=list)
    interrupted: list[Outcome] = field(default_factory=list)


def begin(items: Sequence[Item], considered: int, run: Run) -> list[CertctlError]:
    """Emit what a run for several certificates will do; run the post hooks that an earlier run
    left, and return their errors.
    """
    orders = sum(each.plan.orders for each in items)
    if not any(each.change.by_hand for each in items):
        now = run.services.clock.now()
        run.services.emit(RunStarted("", now, considered, orders, len(items) - orders))
    return run_outstanding_post_hooks(run)


def batches(items: Sequence[Item]) -> list[Sequence[Item]]:
    """Divide items into batches that are held at the same time."""
    return [items[start : start + _BATCH] for start in range(0, len(items), _BATCH)]


@contextmanager
def between_hooks(
    items: Sequence[Item], run: Run, outcomes: list[Outcome], errors: list[CertctlError]
) -> Iterator[Hooks]:
    """Run the pre hooks, and in any case the post hooks in the end; add what came of the orders to
    `outcomes`, and errors of the hooks to `errors`.

    While another process is between its hooks, nothing is ordered: the certificates are skipped.
    Raises `LockHeld` if a person waits for one of them.
    """
    orders = [(each.plan.step(Order), each) for each in items if not each.change.dry_run]
    warn_of_limits(
        [(order.asked, asked) for order, each in orders if order for asked in each.counts_as], run
    )
    try:
        around = run_pre_hooks([each.plan.spec for each in items], run)
    except LockHeld as busy:
        if any(each.change.by_hand for each in items):
            raise
        outcomes += [skipped(each.name, busy, run) for each in items]
        yield Hooks(RunHooks(), [])
        return
    hooks = Hooks(around, batches(items))
    try:
        yield hooks
    finally:
        outcomes += hooks.done
        errors += run_post_hooks(around, [*hooks.done, *hooks.interrupted], run)


def held_again(batch: Sequence[Item], run: Run) -> list[Item]:
    """Lock the certificates of items without an order, and plan again. What is due by now is left
    to the next run.
    """
    again = [_held_again(each, run) for each in batch]
    return [replace(each, plan=each.plan.without_order()) for each in again]


def order_side_by_side(batch: Sequence[Item], hooks: Hooks, run: Run) -> list[Item]:
    """Order the certificates in parallel, the most urgent first. Each is locked from here on.

    If the run is stopped, those that were begun are ended, and `Interrupted` is raised.
    """
    done: dict[int, Item] = {}
    try:
        done.update(
            in_parallel(
                lambda each: (each[0], _ordered(*each, hooks, run)),
                list(enumerate(batch)),
                threads=_THREADS,
            )
        )
    except BaseException:
        _release([*done.values(), *batch], run)
        hooks.done += [done[place].outcome for place in sorted(done)]
        raise
    return [done[place] for place in range(len(batch))]


def complete(items: Sequence[Item], run: Run, outcomes: list[Outcome]) -> None:
    """Deploy what is live, revoke what that replaces, record what is next, and release the locks.
    Add what came of the items to `outcomes`, also if the run is stopped meanwhile.
    """
    items = list(items)
    try:
        items = [_begun(each, run) for each in items]
        items = _deployed(items, run)
        numbered = list(enumerate(items))
        finished = in_parallel(
            lambda it: (it[0], _finished(it[1], run)), numbered, threads=_QUERIES
        )
        for place, item in finished:
            items[place] = item
    finally:
        _release(items, run)
        outcomes += [each.outcome for each in items]


def _release(items: Sequence[Item], run: Run) -> None:
    """Release the locks; save what a step that was stopped has not saved yet, if that is possible:
    otherwise the next run finds it out.
    """
    for each in items:
        if each.held is not None:
            with suppress(CertctlError):
                each.held.save_carried()
        run.release(each.name)


def _held_again(item: Item, run: Run) -> Item:
    """Return the item with its certificate locked and a plan from its current state. Its outcome
    says if there is nothing left to do, or if it could not be locked.
    """
    if item.held is not None:
        return item
    nothing = replace(item, plan=Plan(item.plan.spec))
    try:
        found, outcomes, plan = hold_and_plan(item.change, run)
    except Interrupted:
        raise
    except LockHeld as busy:
        return replace(nothing, outcome=skipped(item.name, busy, run))
    except UnknownCertificate:  # it has been deleted meanwhile
        return nothing.with_outcome("unchanged")
    except CertctlError as error:
        return nothing.with_outcome("failed", error=error)
    if found is not None:
        return replace(found, started=item.started)
    return replace(nothing, plan=plan, outcome=outcomes[0])


def _ordered(rank: int, item: Item, hooks: Hooks, run: Run) -> Item:
    """Order one certificate once it has a slot; a failure becomes its outcome and is recorded."""
    with run.slot(rank):
        run.check()
        now, why = run.services.clock.now(), item.outcome.reason or ""
        run.services.emit(CertificateStarted(item.name, now, why))
        item = replace(item, started=True)
        try:
            item = _held_again(item, run)
            return _order(item, hooks, run) if item.plan.orders else item
        except Interrupted as stopped:
            hooks.interrupted.append(replace(item.outcome, action="failed", error=stopped))
            raise
        except LockHeld as busy:
            # It was not tried: nothing to record, and no backoff for the next run.
            return item.with_outcome("failed", error=busy)
        except CertctlError as error:
            return _failed(item, error, run)
        except Exception as error:  # noqa: BLE001 - one certificate never stops the others
            return _failed(item, unexpected(error), run)


def _order(item: Item, hooks: Hooks, run: Run) -> Item:
    held, order = item.held, item.plan.step(Order)
    assert held is not None  # noqa: S101 - an item with a plan is held
    if (refused := hooks.around.refused.get(item.name)) is not None:
        raise refused
    if item.change.dry_run:
        return _tried_out(item, held, hooks, run)
    now = run.services.clock.now()
    if (
        order is not None
        and held.live is not None  # else there is nothing that a window could protect
        and window_is_closed(order.spec.order_window, now)
    ):
        warn_of_closed_window(WindowKind.ORDER, order.spec, _urgency(order.why, held, now), run)
    while order is not None:
        ca = order.asked.ca
        error, tried = hooks.breaker.error_if_open(ca), False
        if error is None:
            try:
                obtained = obtain(order, held, run, item.change.csr)
            except (Interrupted, LockHeld):
                raise
            except CertctlError as failure:
                error, tried = failure, True
                hooks.breaker.record(ca, error)
            else:
                hooks.breaker.record(ca, None)
                return _issued(item, order, obtained)
        item, order = _at_next_ca(item, order, error, hooks, run, tried=tried)
    return item


def _issued(item: Item, order: Order, obtained: Obtained) -> Item:
    """Return the item with its new version, which is deployed next, or waits for its window."""
    waits = None
    if obtained.opens is not None:
        texts, number = order.spec.deploy_window, obtained.version.number
        waits = WindowWait(WindowKind.DEPLOY, obtained.opens, texts, number)
        item = replace(item, plan=item.plan.without_deployment())
    return item.with_outcome(
        "issued", version=obtained.version, incomplete=obtained.missing, waits=waits
    )


def _urgency(why: str, held: Held, now: datetime) -> str:
    """Return why something is done now: what does not wait for a window comes first."""
    served = held.status.served or held.live
    if served is not None and served.not_after <= now:
        return "what is served has expired"
    if served is not None and is_near_expiry(served, now):
        return "a sixth of its lifetime is left"
    return why


def _tried_out(item: Item, held: Held, hooks: Hooks, run: Run) -> Item:
    """Take the steps of a dry run: each CA of the certificate is tried."""
    reasons: list[str] = []
    missing: CertctlError | None = None
    for step in item.plan.steps:
        if not isinstance(step, Order | Validate):
            continue
        asked = step.asked if isinstance(step, Order) else step.spec
        if (refusal := hooks.breaker.error_if_open(asked.ca)) is not None:
            return _failed(item, refusal, run)
        try:
            if isinstance(step, Order):
                missing = obtain(step, held, run, item.change.csr).missing or missing
            else:
                reasons.append(validate(asked, held, run, item.change.csr))
        except CertctlError as error:
            hooks.breaker.record(asked.ca, error)
            raise
        hooks.breaker.record(asked.ca, None)
    return item.with_outcome("dry-run", reason="; ".join(reasons) or None, incomplete=missing)


def _at_next_ca(
    item: Item, order: Order, error: CertctlError, hooks: Hooks, run: Run, *, tried: bool
) -> tuple[Item, Order | None]:
    """Record the failure of a CA, and plan again. Return the item, and the order from the next CA
    if that is to be asked now; otherwise the item has failed.
    """
    held, ca = item.held, order.asked.ca
    assert held is not None  # noqa: S101 - an item with a plan is held
    held.failed[ca] = error
    requested = _is_requested(order, held)
    record_failure(held, error, run, tried=tried, requested=requested, ca=ca)
    found = item.change.plan(held, run) if order.spec.fallback_cas else None
    following = found.step(Order) if found is not None else None
    now, emit = run.services.clock.now(), run.services.emit
    if found is not None and following is not None and following.asked.ca not in held.failed:
        asked = following.asked.ca
        emit(NextCa(item.name, now, asked, ca, error.code, error.message))
        if hooks.next_cas.setdefault((ca, asked), item.name) == item.name:
            run.warn(f"{label(ca)} is out of service, and {label(asked)} is asked: {error.message}")
        return replace(item, plan=found), following
    next_at = found.next_ca_at if found is not None else None
    told = with_other_failures(error, order.spec, ca, held.failed, next_at)
    emit(Failed(item.name, now, told.code, told.message))
    return item.with_outcome("failed", error=told), None


def _failed(item: Item, error: CertctlError, run: Run) -> Item:
    """Record and report a failure."""
    held, order = item.held, item.plan.step(Order)
    if not item.change.dry_run:
        emit, now = run.services.emit, run.services.clock.now()
        emit(Failed(item.name, now, error.code, error.message))
        if held is not None:
            ca = order.asked.ca if order is not None else None
            requested = _is_requested(order, held)
            record_failure(held, error, run, requested=requested, ca=ca)
    return item.with_outcome("failed", error=error)


def _is_requested(order: Order | None, held: Held) -> bool:
    """Return whether a person requested a new version of the certificate as it is."""
    if order is None or not order.forced or held.renewal_state.revocations:
        return False
    try:
        return order.spec == held.saved
    except CertctlError:
        return False


def _begun(item: Item, run: Run) -> Item:
    """Take the steps that come before the deployment and ask no CA."""
    held = item.held
    if held is None or item.failed:
        return item
    try:
        for step in item.plan.steps:
            match step:
                case StopRenewal():
                    off = {**held.spec.chosen, "autorenew": False}
                    held.save_spec(replace(held.spec, chosen=off, autorenew=False))
                case SaveSpec():
                    _save(step, item.change.csr, held)
                case Activate():
                    _activate(step, held, run)
    except CertctlError as error:
        return _failed(item, error, run)
    return item


def _activate(step: Activate, held: Held, run: Run) -> None:
    now, number = run.services.clock.now(), held.deployment.waiting
    if window_is_closed(held.spec.deploy_window, now):
        why = _urgency(step.why, held, now)
        warn_of_closed_window(WindowKind.DEPLOY, held.spec, why, run)
    held.activate(step.version)
    if step.pause_until is None:
        return
    if number is not None and number != step.version.number:
        run.warn(f"version {number}, which waited for its deploy window, is not used", held.name)
    paused = replace(held.renewal_state, paused_until=step.pause_until)
    held.save_renewal_state(paused, next_action_at=now)


def _save(step: SaveSpec, csr: bytes | None, held: Held) -> None:
    if step.redeploy:
        mark_undeployed(held)
    if csr is not None:
        held.save_csr(csr)
    held.save_spec(step.spec)
    if step.grant_access:
        held.grant_access(step.spec)


def _deployed(items: Sequence[Item], run: Run) -> list[Item]:
    wanted = [
        each.held
        for each in items
        if each.held is not None and not each.failed and each.plan.step(Deploy) is not None
    ]
    results = {each.name: each for each in deliver(wanted, run)} if wanted else {}
    return [
        _with_result(each, results[each.name]) if each.name in results else each for each in items
    ]


def _with_result(item: Item, result: DeployResult) -> Item:
    outcome = replace(item.outcome, deploy=result)
    live = item.held.live if item.held is not None else None
    if outcome.version is None and live is not None:
        names = tuple(each.value for each in live.facts.identifiers)
        outcome = replace(outcome, version=live)
        if outcome.action == "deployed":
            outcome = replace(outcome, names=names)
    return replace(item, outcome=outcome)


def _finished(item: Item, run: Run) -> Item:
    """Revoke what is replaced, and record what `renew` has to do next."""
    held, deploy = item.held, item.outcome.deploy
    try:
        if held is not None and not item.failed and not item.change.dry_run:
            if deploy is None or deploy.deployed:
                for step in item.plan.all(Revoke):
                    item = _revoked(item, revoke_version(held, step.intent, run))
            if item.plan.step(Delete) is not None:
                held.delete()
                withdraw_from_former(item.plan.spec, None, run)
            else:
                _look_ahead(item, held, run)
    except CertctlError as error:
        if isinstance(error, Interrupted):
            raise
        item = _failed(item, error, run)
    if item.started:
        now = run.services.clock.now()
        run.services.emit(CertificateFinished(item.name, now, item.outcome.action, _code(item)))
    return item


def _revoked(item: Item, revoked: Sequence[RevokedVersion]) -> Item:
    return replace(item, outcome=replace(item.outcome, revoked=(*item.outcome.revoked, *revoked)))


def _look_ahead(item: Item, held: Held, run: Run) -> None:
    """Ask the CA when to renew a new version, and record when `renew` has something to do next."""
    version = item.outcome.version
    if version is not None:
        held.carry(ask_for_renewal_info(held.spec, version, held.renewal_state, run))
    remember(held, run)


def _code(item: Item) -> str | None:
    outcome = item.outcome
    deploy = outcome.deploy.error if outcome.deploy is not None else None
    errors = (outcome.error, outcome.incomplete, deploy)
    return next((each.code for each in errors if isinstance(each, CertctlError)), None)
