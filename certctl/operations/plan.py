"""What `apply` or the next `renew` would do to each certificate, and why.

Nothing is written, and no CA is asked. `certctl.operations.apply` carries such a forecast out: what
it may do to a certificate is what was shown here, or less.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from certctl.ca.directories import directory_url, label
from certctl.ca.documented_limits import documented_limits, registered_domains
from certctl.engine.current import state_of
from certctl.engine.held import checked_spec
from certctl.engine.order.rate_limits import ledger_of, times_for_orders
from certctl.engine.preflight import check_targets, check_windows
from certctl.engine.run import Run
from certctl.engine.specs import refusal_of_untrusted
from certctl.model.ca import LedgerEntry, LimitedAction
from certctl.model.certificate import Version
from certctl.model.errors import CertctlError, UsageError, unexpected
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import CertificateSpec
from certctl.operations.desired import DesiredSpec, Wish
from certctl.operations.forecast import Action, CaUse, Forecast, LimitUse, Planned
from certctl.operations.in_use import require_unused
from certctl.rules.plan import (
    AwaitWindow,
    Delete,
    Deploy,
    Order,
    Plan,
    Revoke,
    Wait,
    Wanted,
    plan,
)
from certctl.rules.rate_limits import Limit, Per, counted_towards, orders_for, usage_of
from certctl.rules.renewal import urgency
from certctl.rules.selection import listed
from certctl.rules.spec_differences import differences_of, edited_since_applied
from certctl.rules.spread import with_certificates
from certctl.store.records import Stored

ALWAYS_PRUNED = 3
"""So many certificates may be pruned without a limit, whatever their share."""

_MOST_LIMITS = 5
"""Limits that are shown of each CA."""

_SOON = timedelta(minutes=1)


@dataclass(frozen=True)
class Prune:
    """That certificates of the owner that are not in the desired state are deleted; at most
    `limit`, by default a tenth of those it has, or three.
    """

    limit: int | None = None


def plan_desired(wish: Wish, run: Run, prune: Prune | None = None) -> Forecast:
    """Return what `apply` would do. Raises `UsageError` if a certificate has another owner, or too
    many would be deleted.
    """
    now, records = run.services.clock.now(), run.services.records
    known = records.names()
    stored = records.summaries(
        known if wish.owner else [each for each in known if each in wish.certificates]
    )
    _require_own(wish, stored)
    interval = run.services.machine.history().interval
    items = [
        _planned(each, stored.get(name) or Stored(name), interval, run)
        for name, each in wish.certificates.items()
    ]
    gone = [
        name
        for name, each in stored.items()
        if wish.owner and each.spec and each.spec.managed_by == wish.owner
        if name not in wish.certificates
    ]
    if prune is not None:
        _require_owner(wish)
        _require_few(gone, len(gone) + len(_of_owner(wish, stored)), prune)
        items += [_deleted(stored[name], run) for name in gone]
    return _forecast(items, run, now, wish.owner, () if prune else tuple(gone))


def plan_changes(specs: Mapping[str, CertificateSpec], run: Run) -> Forecast:
    """Return what would be done if certificates had these specifications. Those are changed by
    hand, so that no window is waited for.
    """
    now, stored = run.services.clock.now(), run.services.records.summaries(tuple(specs))
    interval = run.services.machine.history().interval
    items = [
        _planned(
            DesiredSpec(spec), stored.get(name) or Stored(name), interval, run, keeps_windows=False
        )
        for name, spec in specs.items()
    ]
    return _forecast(items, run, now)


def plan_renewal(run: Run) -> Forecast:
    """Return what the next `renew` would do."""
    now, records = run.services.clock.now(), run.services.records
    names = records.names()
    stored, interval = records.summaries(names), run.services.machine.history().interval
    items = [_planned(None, stored.get(name) or Stored(name), interval, run) for name in names]
    return _forecast(items, run, now)


def _forecast(
    items: Sequence[Planned],
    run: Run,
    now: datetime,
    owner: str | None = None,
    left_over: tuple[str, ...] = (),
) -> Forecast:
    items = _spread(items, run, now)
    in_order = tuple(sorted(items, key=lambda each: each.name))
    return Forecast(now, in_order, _uses(items, run, now), owner, left_over)


# -- one certificate


def _planned(
    wanted: DesiredSpec | None,
    stored: Stored,
    interval: timedelta | None,
    run: Run,
    *,
    keeps_windows: bool = True,
) -> Planned:
    """Return what is planned for a certificate that should be as `wanted`, or as it is stored."""
    try:
        return _plan_of(wanted, stored, interval, run, keeps_windows)
    except CertctlError as error:
        found = error
    except Exception as error:  # noqa: BLE001 - one certificate never stops the others
        found = unexpected(error)
    found.name = found.name or stored.name
    spec = wanted.spec if wanted is not None else stored.spec
    return Planned(stored.name, Action.FAILED, found.message, spec, error=found)


def _plan_of(
    wanted: DesiredSpec | None,
    stored: Stored,
    interval: timedelta | None,
    run: Run,
    keeps_windows: bool,
) -> Planned:
    saved, spec = _specs(wanted, stored)
    machine, now = run.services.machine, run.services.clock.now()
    status = state_of(stored, machine.read(stored.name), machine, now)
    differences = differences_of(_with_url(saved), spec) if saved is not None else ()
    changed = saved is None or bool(differences)
    if changed:
        check_targets(spec, run)
        if spec.order_window or spec.deploy_window:
            check_windows(spec, run)
    elif saved is not None:
        spec = saved
    forced = saved is None and not spec.autorenew and status.live is None
    about = Wanted(
        spec,
        saved,
        force=forced,
        by_hand=changed,
        interval=interval,
        refusal=refusal_of_untrusted(spec, status.live),
        pending=stored.orders,
        order_timeout=timedelta(seconds=run.services.settings.seconds("order_timeout")),
        asks=False,
        keeps_windows=keeps_windows,
    )
    found = plan(about, status, now)
    live = status.live
    valid = live is not None and live.not_after > now
    action, why = _action(found, changed, saved)
    order, later = found.step(Order), found.step(AwaitWindow)
    return Planned(
        stored.name,
        action,
        why,
        spec,
        saved,
        found.steps,
        differences,
        opens=later.wait.until if later is not None else None,
        edited=bool(differences) and saved is not None and edited_since_applied(saved),
        forced=forced,
        keeps_windows=keeps_windows,
        csr=wanted.csr if wanted is not None else None,
        live=live,
        served_until=live.not_after if live is not None and valid else None,
        not_served=_not_served(spec, live if valid else None),
        decision=found.decision,
        urgency=urgency(status, now),
        counts_as=orders_for(order.asked, status, now) if order else (),
        postponed_until=status.renewal_state.postponed_until,
    )


def _specs(
    wanted: DesiredSpec | None, stored: Stored
) -> tuple[CertificateSpec | None, CertificateSpec]:
    """Return the saved spec, if there is one, and the one that the certificate should have."""
    if wanted is None:
        saved = checked_spec(stored.require_spec())
        return saved, saved
    if stored.spec is None and stored.spec_error is None:
        return None, replace(wanted.spec, origin=None)
    saved = checked_spec(stored.require_spec())
    return saved, replace(wanted.spec, origin=saved.origin)


def _with_url(spec: CertificateSpec) -> CertificateSpec:
    """Return a spec whose choice of a CA is a directory URL, as `apply` writes it."""
    ca = spec.chosen.get("ca")
    urls = tuple(map(directory_url, ca)) if isinstance(ca, tuple) else directory_url(str(ca))
    return spec if ca is None else replace(spec, chosen={**spec.chosen, "ca": urls})


def _action(found: Plan, changed: bool, saved: CertificateSpec | None) -> tuple[Action, str]:
    """Return the word for a plan, and why, as a phrase."""
    decision = found.decision
    order, wait, later = found.step(Order), found.step(Wait), found.step(AwaitWindow)
    if changed:
        word = Action.CREATE if saved is None else Action.CHANGE
        nothing = _waits(later) if later else "nothing has to be ordered"
        return word, order.why if order else nothing
    if order is not None:
        return Action.RENEW, order.why
    for kind, word in ((Revoke, Action.REVOKE), (Deploy, Action.DEPLOY)):
        step = found.step(kind)
        if step is not None:
            return word, step.why
    if wait is not None:
        return Action.WAIT, wait.error.message
    if later is not None:
        return Action.LATER, _waits(later)
    if decision is not None and decision.reason == "postponed":
        return Action.LATER, decision.why
    return Action.UNCHANGED, decision.why if decision is not None else ""


def _waits(later: AwaitWindow) -> str:
    wait = later.wait
    return f"{later.why}; its {wait.kind} window opens at {wait.until:%Y-%m-%d %H:%M} UTC"


def _not_served(spec: CertificateSpec, live: Version | None) -> tuple[str, ...]:
    served = set(live.facts.identifiers) if live is not None else set()
    return tuple(each.value for each in spec.identifiers if each not in served)


# -- owners and deletions


def _require_own(wish: Wish, stored: Mapping[str, Stored]) -> None:
    """Raise `UsageError` if a certificate belongs to another owner."""
    others: defaultdict[str, list[str]] = defaultdict(list)
    for name in wish.certificates:
        spec = stored[name].spec if name in stored else None
        if spec is not None and spec.managed_by not in {None, wish.owner}:
            others[str(spec.managed_by)].append(name)
    for owner, names in others.items():
        mine = f"the owner {wish.owner}" if wish.owner else "this desired state, which has no owner"
        raise UsageError(
            f"{listed(names)}: managed by {owner}, not by {mine}",
            hint="Remove them here, or there. A certificate has one owner.",
            code="plan.other_owner",
        )


def _require_owner(wish: Wish) -> None:
    if wish.owner is None:
        raise UsageError(
            "--prune requires an owner: without one, nobody knows whose certificates are left over",
            hint='Add a line at the top, such as: owner = "web"',
            code="plan.no_owner",
        )


def _of_owner(wish: Wish, stored: Mapping[str, Stored]) -> list[str]:
    """Return the certificates of the owner that stay."""
    return [
        name
        for name in wish.certificates
        if name in stored and (spec := stored[name].spec) and spec.managed_by == wish.owner
    ]


def _require_few(gone: Sequence[str], owned: int, prune: Prune) -> None:
    """Raise `UsageError` if more would be deleted than was allowed."""
    allowed = max(ALWAYS_PRUNED, owned // 10) if prune.limit is None else prune.limit
    if len(gone) > allowed:
        raise UsageError(
            f"{len(gone)} of {owned} certificates would be deleted, but at most {allowed} may be:"
            f" {listed(gone)}",
            hint=f"If that is meant, allow it with: --prune-limit {len(gone)}",
            code="plan.prune_limit",
        )


def _deleted(stored: Stored, run: Run) -> Planned:
    spec = stored.spec
    try:
        require_unused(stored.name, run)
    except UsageError as error:
        return Planned(stored.name, Action.KEEP, error.message, spec, spec)
    why = "it is not in the desired state any more"
    return Planned(stored.name, Action.DELETE, why, spec, spec, (Delete(why),))


# -- rate limits


def _spread(items: Sequence[Planned], run: Run, now: datetime) -> list[Planned]:
    """Return the items with the times of their orders. What was postponed keeps its time."""
    waiting = [
        (each, postponed.at)
        for each in items
        if (postponed := each.decision) is not None
        and postponed.reason == "postponed"
        and postponed.at is not None
        and each.action is Action.LATER
    ]
    ordered = [each for each in items if each.counts_as and each.spec is not None]
    ordered.sort(key=lambda each: each.urgency or (0, now))
    wanted: list[tuple[CertificateSpec, tuple[LedgerEntry, ...]]] = [
        (each.spec, (LedgerEntry(LimitedAction.ORDER, at, _names(each)),))
        for each, at in waiting
        if each.spec is not None
    ]
    first = len(wanted)
    wanted += [(each.asked, each.counts_as) for each in ordered if each.asked is not None]
    times = times_for_orders(wanted, run)
    by_name = {each.name: time for each, time in zip(ordered, times[first:], strict=True)}
    by_name |= {each.name: at for each, at in waiting}
    return [
        replace(each, at=at)
        if (at := by_name.get(each.name)) and at > now + _SOON and _can_wait(each)
        else each
        for each in items
    ]


def _can_wait(item: Planned) -> bool:
    """Return whether a certificate is ordered for a reason that a postponement counts for."""
    decision = item.decision
    return decision is not None and decision.reason in {"missing", "changed", "postponed"}


def _names(item: Planned) -> tuple[str, ...]:
    return tuple(each.value for each in item.spec.identifiers) if item.spec else ()


def _uses(items: Sequence[Planned], run: Run, now: datetime) -> tuple[CaUse, ...]:
    """Return what is needed of each CA, and of those of its limits that are used most."""
    by_ca: defaultdict[tuple[str, str | None], list[Planned]] = defaultdict(list)
    for each in items:
        if each.asked is not None and each.counts_as:
            by_ca[each.asked.ca, each.asked.account].append(each)
    found: list[CaUse] = []
    for (ca, account), orders in sorted(by_ca.items(), key=lambda each: str(each[0])):
        later = [each.at for each in orders if each.at is not None]
        waiting = sum(len(each.counts_as) for each in orders if each.at is not None)
        all_orders = sum(len(each.counts_as) for each in orders)
        limits = _limit_uses(ca, account, orders, run, now)
        found.append(
            CaUse(label(ca), all_orders - waiting, waiting, max(later, default=None), limits)
        )
    return tuple(found)


def _limit_uses(
    ca: str, account: str | None, orders: Sequence[Planned], run: Run, now: datetime
) -> tuple[LimitUse, ...]:
    limits = documented_limits(ca).limits
    if not limits:
        return ()
    domain = registered_domains()
    used = usage_of(limits, ledger_of(ca, account, run), now, domain)
    counts: defaultdict[tuple[Limit, str], list[int]] = defaultdict(lambda: [0, 0])
    for each in orders:
        for entry in with_certificates(each.counts_as, now):
            for key in counted_towards(limits, entry, domain):
                counts[key][0 if each.at is None else 1] += 1
    uses = [
        LimitUse(str(limit), limit.count, subject, round(used.get((limit, subject), 0.0)), *sums)
        for (limit, subject), sums in counts.items()
        # the same names again are few, unless something goes wrong
        if limit.per is not Per.SET or sum(sums) + used.get((limit, subject), 0.0) > limit.count / 2
    ]
    uses.sort(key=lambda each: -(each.used + each.now + each.later) / each.count)
    return tuple(uses[:_MOST_LIMITS])
