"""Looks at certificates: locks each, plans what it needs, and sorts out what needs nothing now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from certctl.engine.held import Held
from certctl.engine.parallel import in_parallel
from certctl.engine.planning import Change
from certctl.engine.remember import remember
from certctl.engine.run import Run
from certctl.model.ca import LedgerEntry
from certctl.model.delivery import DeployResult
from certctl.model.errors import (
    CertctlError,
    Interrupted,
    LockHeld,
    UnknownCertificate,
    unexpected,
)
from certctl.model.events import Skipped
from certctl.model.lazy_dataclass import dataclass
from certctl.model.run import Outcome
from certctl.rules.plan import (
    AwaitWindow,
    Delete,
    Deploy,
    Order,
    Plan,
    RareRuns,
    Revoke,
    SaveSpec,
    Wait,
)
from certctl.rules.rate_limits import orders_for
from certctl.rules.renewal import urgency

_THREADS = 16
"""Certificates that are looked at in parallel: queries to the CA (ARI) are what takes time."""

_AT_ONCE = (0, datetime.min.replace(tzinfo=UTC))


@dataclass(frozen=True)
class Item:
    """A certificate on its way through the pipeline: what is wanted of it, its plan, and what came
    of it. It is `held` from its first step until it is released. What has the lowest `urgency`
    comes first; `counts_as` is what its orders would count as in the CA's limits.
    `started`: its order was begun.
    """

    change: Change
    plan: Plan
    outcome: Outcome
    held: Held | None = None
    urgency: tuple[int, datetime] = _AT_ONCE
    counts_as: tuple[LedgerEntry, ...] = ()
    started: bool = False

    @property
    def name(self) -> str:
        """The certificate's name."""
        return self.change.name

    @property
    def failed(self) -> bool:
        """Whether a step failed, so that the later ones are left out."""
        return self.outcome.error is not None

    def with_outcome(self, action: str, **changes: object) -> Item:
        """Return the item with another outcome."""
        return replace(self, outcome=replace(self.outcome, action=action, **changes))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Found:
    """What `look` found: the items with something to do, and the outcomes of all that wait or need
    nothing.
    """

    items: tuple[Item, ...] = ()
    outcomes: tuple[Outcome, ...] = ()

    @property
    def orders(self) -> list[Item]:
        """The items that the CA is asked for, the most urgent first."""
        due = [each for each in self.items if each.plan.orders]
        return sorted(due, key=lambda each: each.urgency)

    @property
    def without_order(self) -> list[Item]:
        """The items for which the CA is not asked for a certificate."""
        return [each for each in self.items if not each.plan.orders]


def look(changes: Sequence[Change], run: Run, *, keep_lock: bool) -> Found:
    """Plan what each certificate needs, in parallel; with `keep_lock`, those that need something
    stay locked. Raises `Interrupted`, and what `Change` says.
    """
    alone = len(changes) == 1
    found = dict(
        in_parallel(
            lambda each: (each[0], _looked_at(each[1], run, keep_lock=keep_lock, alone=alone)),
            list(enumerate(changes)),
            threads=_THREADS,
        )
    )
    in_order = [found[index] for index in range(len(changes))]
    _warn_of_interval(in_order, run)
    return Found(
        tuple(each.item for each in in_order if each.item is not None),
        tuple(outcome for each in in_order for outcome in each.outcomes),
    )


@dataclass(frozen=True)
class _Looked:
    item: Item | None = None
    outcomes: tuple[Outcome, ...] = ()
    rare_runs: RareRuns | None = None


def hold_and_plan(change: Change, run: Run) -> tuple[Item | None, tuple[Outcome, ...], Plan]:
    """Lock a certificate and plan what it needs. Return the item, which is held and the caller
    releases, or None if there is nothing to do now; the outcomes of what waits; and the plan.

    Raises `LockHeld`, `UnknownCertificate`, and what the plan raises.
    """
    waits = change.by_hand or change.patient
    seconds = run.services.settings.seconds("lock_timeout") if waits else 0
    held = run.hold(change.name, timeout=seconds, dry_run=change.dry_run)
    plan = change.plan(held, run)
    outcomes = tuple(_waiting(each, plan, held) for each in plan.all(Wait))
    if plan.waits_only:
        if outcomes:
            held.save_carried()
        else:
            outcomes = (_unchanged(plan, held),)
            if plan.decision is not None and not change.by_hand:
                remember(held, run)
        return None, outcomes, plan
    order, now = plan.step(Order), run.services.clock.now()
    item = Item(
        change,
        plan,
        Outcome(plan.name, _action(plan, change), _domains(plan), reason=plan.first_action.why),
        held,
        urgency=urgency(held.status, now),
        counts_as=orders_for(order.asked, held.status, now) if order is not None else (),
    )
    return item, outcomes, plan


def skipped(name: str, busy: LockHeld, run: Run) -> Outcome:
    """Emit that a certificate is skipped because another process holds its lock; return the
    outcome.
    """
    run.services.emit(Skipped(name, run.services.clock.now(), busy.message))
    return Outcome(name, "busy", reason=busy.message)


def _looked_at(change: Change, run: Run, *, keep_lock: bool, alone: bool) -> _Looked:
    run.check()
    item: Item | None = None
    try:
        item, outcomes, plan = hold_and_plan(change, run)
        if item is not None and item.held is not None and not keep_lock:
            item.held.save_carried()
            return _Looked(replace(item, held=None), outcomes, plan.rare_runs)
        return _Looked(item, outcomes, plan.rare_runs)
    except (Interrupted, KeyboardInterrupt):
        raise
    except LockHeld as busy:
        if change.by_hand:
            raise
        return _Looked(None, (skipped(change.name, busy, run),))
    except UnknownCertificate:
        if change.by_hand and alone:
            raise
        return _Looked()  # it has been deleted since the names were read
    except Exception as error:
        if change.by_hand and alone:
            raise
        own = error if isinstance(error, CertctlError) else unexpected(error)
        return _Looked(None, (Outcome(change.name, "failed", error=own),))
    finally:
        if item is None or not keep_lock:
            run.release(change.name)


def _waiting(step: Wait, plan: Plan, held: Held) -> Outcome:
    """Return the outcome of what waits for its next attempt: the earlier failure still counts."""
    if not step.deployment:
        return Outcome(plan.name, "waiting", _domains(plan), error=step.error)
    number = held.deployment.wanted or 0
    pending = DeployResult(plan.name, number, deployed=False, error=step.error)
    return Outcome(plan.name, "undeployed", _domains(plan), held.live, deploy=pending)


def _unchanged(plan: Plan, held: Held) -> Outcome:
    decision, later = plan.decision, plan.step(AwaitWindow)
    return Outcome(
        plan.name,
        "unchanged",
        _domains(plan),
        held.live,
        reason=decision.why if decision is not None else None,
        renews_at=(decision.opens or decision.at) if decision is not None else None,
        waits=None if later is None else later.wait,
    )


def _action(plan: Plan, change: Change) -> str:
    """Return the word for what a plan does if no step fails."""
    if change.dry_run:
        return "dry-run"
    if plan.orders:
        return "issued"
    if plan.step(Delete) is not None and plan.step(Revoke) is None:
        return "deleted"
    if plan.step(SaveSpec) is not None:
        return "updated"
    return "deployed" if plan.step(Deploy) is not None else "revoked"


def _domains(plan: Plan) -> tuple[str, ...]:
    return tuple(each.value for each in plan.spec.identifiers)


def _warn_of_interval(looked: Sequence[_Looked], run: Run) -> None:
    """Warn if runs are so rare that certificates would be renewed late."""
    rare = [each.rare_runs for each in looked if each.rare_runs is not None]
    if not rare:
        return
    worst = min(rare, key=lambda each: each.available)
    run.warn(
        f"renew runs every {_hours(worst.interval)}, but {worst.what} is only"
        f" {_hours(worst.available)} long for some certificates; run it every hour"
    )


def _hours(duration: timedelta) -> str:
    hours = duration.total_seconds() / 3600
    return f"{hours:.0f} h" if hours >= 10 else f"{hours:.1f} h"
