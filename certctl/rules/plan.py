"""Plans: what has to be done for one certificate, as steps, each with the reason for it.

Pure: a plan is made from the desired state, the current state and a time. `certctl.engine.fulfil`
carries plans out; nothing else orders or deploys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from certctl.model.certificate import (
    Afterwards,
    PendingOrder,
    RenewalDecision,
    RevocationIntent,
    Version,
)
from certctl.model.errors import (
    CertctlError,
)
from certctl.model.lazy_dataclass import dataclass
from certctl.model.run import WindowKind, WindowWait
from certctl.model.spec import CertificateSpec
from certctl.model.status import CertificateStatus
from certctl.rules.ari import next_request_time
from certctl.rules.earlier_errors import earlier_error
from certctl.rules.fallback_ca import Choice, Tried, choose
from certctl.rules.remembered_times import believed
from certctl.rules.renewal import (
    LONGEST_INTERVAL,
    attempts,
    decide,
    in_backoff,
    may_wait,
    parts_of,
    request_of,
)
from certctl.rules.renewal_windows import deployment_opens, runs_too_rare, window_is_closed
from certctl.rules.waiting import again, until

RESUMED_FOR = timedelta(days=1)
"""An older order is abandoned: something is permanently wrong with it."""


@dataclass(frozen=True)
class Step:
    """A step of a plan; `why` is a phrase."""

    why: str


@dataclass(frozen=True)
class AskRenewalInfo(Step):
    """Query the CA for its suggested renewal window, then plan again."""


@dataclass(frozen=True)
class SaveSpec(Step):
    """Save changed options; `redeploy`: they concern the deployment, which is pending from then on.
    `grant_access`: they concern who may read the private key.
    """

    spec: CertificateSpec
    redeploy: bool = False
    grant_access: bool = False


@dataclass(frozen=True)
class StopRenewal(Step):
    """Turn off the renewal of the certificate."""


@dataclass(frozen=True)
class Activate(Step):
    """Make an archived version wanted and live, and pause renewal until `pause_until`, if that is
    set.
    """

    version: Version
    pause_until: datetime | None = None


@dataclass(frozen=True)
class Order(Step):
    """Order a version and make it live; the spec is saved once it has been issued.

    `ca` is the one of its CAs that is asked, None for the first. `forced`: a new version is wanted
    even if the names that can be validated are not due. `by_ari`: the window suggested by the CA is
    the only reason. `new_key`: the live version's key must not be used again. `strict`: all names
    are needed. `at_once`: it becomes live even while its deploy window is closed.
    """

    spec: CertificateSpec
    forced: bool = False
    by_ari: bool = False
    new_key: bool = False
    strict: bool = False
    ca: str | None = None
    at_once: bool = False

    @property
    def asked(self) -> CertificateSpec:
        """The spec as the CA is asked for it."""
        return self.spec.at(self.ca or self.spec.ca)


@dataclass(frozen=True)
class Validate(Step):
    """Validate all names by an order that is then abandoned."""

    spec: CertificateSpec


@dataclass(frozen=True)
class Deploy(Step):
    """Deploy the live version."""


@dataclass(frozen=True)
class Revoke(Step):
    """Revoke a version at its CA, once what replaces it is deployed."""

    intent: RevocationIntent


@dataclass(frozen=True)
class Delete(Step):
    """Delete the certificate, its spec first."""


@dataclass(frozen=True)
class Wait(Step):
    """Do nothing before `until`: an earlier attempt failed with `error`, which still counts.

    `deployment`: what waits is a deployment, else an order or a revocation.
    """

    until: datetime | None
    error: CertctlError
    deployment: bool = False


@dataclass(frozen=True)
class AwaitWindow(Step):
    """Do nothing before a window opens; this is no failure."""

    wait: WindowWait


@dataclass(frozen=True)
class RareRuns:
    """`renew` runs so rarely, at this `interval`, that certificates would be renewed late: `what`
    is only `available` long.
    """

    available: timedelta
    what: str
    interval: timedelta


_Step = TypeVar("_Step", bound=Step)


@dataclass(frozen=True)
class Plan:
    """The steps for a certificate, in their order; none if there is nothing to do.

    `decision` says whether it is due by the rules of renewal. `rare_runs` is set if `renew` runs
    too rarely for it. Before `next_ca_at`, none of its CAs is asked in place of one that is out of
    service.
    """

    spec: CertificateSpec
    steps: tuple[Step, ...] = ()
    decision: RenewalDecision | None = None
    rare_runs: RareRuns | None = None
    next_ca_at: datetime | None = None

    @property
    def name(self) -> str:
        """The certificate's name."""
        return self.spec.name

    def step(self, kind: type[_Step]) -> _Step | None:
        """Return the first step of a kind."""
        return next((each for each in self.steps if isinstance(each, kind)), None)

    def all(self, kind: type[_Step]) -> tuple[_Step, ...]:
        """Return the steps of a kind."""
        return tuple(each for each in self.steps if isinstance(each, kind))

    @property
    def orders(self) -> bool:
        """Whether the CA is asked for something, between the pre and the post hooks."""
        return self.step(Order) is not None or self.step(Validate) is not None

    @property
    def first_action(self) -> Step:
        """Return the first step that is not to wait."""
        return next(each for each in self.steps if not isinstance(each, Wait | AwaitWindow))

    def without_order(self) -> Plan:
        """Return the plan without asking the CA for a certificate."""
        kept = tuple(each for each in self.steps if not isinstance(each, Order | Validate))
        return replace(self, steps=kept)

    def without_deployment(self) -> Plan:
        """Return the plan without deploying anything."""
        return replace(
            self, steps=tuple(each for each in self.steps if not isinstance(each, Deploy))
        )

    @property
    def waits_only(self) -> bool:
        """Whether nothing is to be done now."""
        return all(isinstance(each, Wait | AwaitWindow) for each in self.steps)


@dataclass(frozen=True)
class Wanted:
    """The desired state of a certificate: `spec`, of which `saved` is what is stored, None if it is
    new; and how its user wants it handled.

    `force`: order even if nothing is due. `by_hand`: a person waits, so that no backoff counts and
    no CA is asked for renewal windows. `interval` is the time between runs of `renew`. `refusal`
    is the error if no certificate of this CA may replace the live one. `pending` are the orders
    that an earlier run left, of which each is given `order_timeout`. `failed` are the CAs that
    failed in this run, each with its error. Unless `deploys_changes`, changed options of the
    deployment wait for the next version. Unless it `asks`, no CA is asked for renewal windows.
    `ignore_windows`: order and deploy now what waits for a window of its own. `keeps_windows`: what
    is changed by hand waits for it, too.
    """

    spec: CertificateSpec
    saved: CertificateSpec | None
    force: bool = False
    by_hand: bool = False
    interval: timedelta | None = None
    refusal: CertctlError | None = None
    pending: tuple[PendingOrder, ...] = ()
    order_timeout: timedelta = timedelta(0)
    failed: Mapping[str, CertctlError] = field(default_factory=dict)
    deploys_changes: bool = True
    asks: bool = True
    ignore_windows: bool = False
    keeps_windows: bool = False

    @property
    def at_once(self) -> bool:
        """Whether its windows do not matter, since a person wants it now: by force, or by a change
        of what is requested from the CA.
        """
        before = [] if self.saved is None else [request_of(each) for each in parts_of(self.saved)]
        changed = before != [request_of(each) for each in parts_of(self.spec)]
        by_hand = self.by_hand and changed and not self.keeps_windows
        return self.ignore_windows or self.force or by_hand


def plan(wanted: Wanted, status: CertificateStatus, now: datetime) -> Plan:
    """Return what has to be done so that the certificate is as its spec says: ordered if it is due,
    deployed if that is pending, revoked if that is intended. Raises the refusal.
    """
    spec, state = wanted.spec, status.renewal_state
    if state.revocations:
        return _withdrawal(wanted, status, now)
    if wanted.saved is not None and spec != wanted.saved:
        # A change by hand ends the pause that follows a rollback.
        state = replace(state, paused_until=None)
    if wanted.by_hand:
        state = replace(state, postponed_until=None)
    status = replace(status, renewal_state=state)
    asks = wanted.asks and not (wanted.by_hand or wanted.force)
    if asks and _window_is_due(spec, status, now):
        return Plan(spec, (AskRenewalInfo("its CA is asked for the renewal window"),))
    at_once, interval = wanted.at_once, min(wanted.interval or timedelta(0), LONGEST_INTERVAL)
    decision = decide(spec, status, now, interval, in_windows=not at_once)
    why = decision.why if decision.due else _other_reason(wanted, status.live, now)
    closed = None if at_once else decision.opens
    steps: list[Step] = []
    if why is not None and wanted.refusal is not None:
        raise wanted.refusal
    choice = _choice(wanted, status, now)
    if why is not None and choice.ca is not None and closed is None:
        at_once = at_once or decision.reason in _URGENT
        by_ari = decision.due and decision.reason == "ari"
        order = Order(why, spec, forced=wanted.force, by_ari=by_ari, ca=choice.ca, at_once=at_once)
        steps += [order, Deploy(why)]
    else:
        if why is not None:
            steps.append(_later(why, closed, spec, status, choice, now))
        steps += _without_order(wanted, status, now)
    rare_runs = _rare_runs(wanted, status, now)
    return Plan(spec, tuple(steps), decision, rare_runs, choice.next_at if why else None)


_URGENT = frozenset({"requested", "withdrawn"})
"""Reasons to order for which no deploy window is waited for. What keeps clients from being served
needs no mention: see `deployment_opens`.
"""


def deployment_again(
    spec: CertificateSpec, status: CertificateStatus, *, pending_only: bool
) -> Plan:
    """Return the plan to deploy the live version again, or only if its deployment is pending; and
    to revoke what it replaces, if that waits for the deployment.
    """
    live, intents = status.live, status.renewal_state.revocations
    if status.waiting is not None and not pending_only:
        return Plan(spec, (Activate("requested", status.waiting), Deploy("requested")))
    if live is None or not (status.undeployed or not pending_only):
        return Plan(spec)
    replaced = live.number not in {each.version for each in intents}
    revocations = [Revoke("it is to be revoked", each) for each in intents if replaced]
    return Plan(spec, (Deploy("requested"), *revocations))


def is_resumable(pending: PendingOrder, now: datetime) -> bool:
    """Return whether an earlier run's order may still be finished: it is at the CA, and not older
    than a day. One that is dated in the future has no known age. What was issued for one of two key
    types waits longer for the other.
    """
    if pending.finished is not None:
        return may_wait(pending.finished, now)
    created = believed(pending.created, now)
    return pending.url is not None and created is not None and now - created <= RESUMED_FOR


def _choice(wanted: Wanted, status: CertificateStatus, now: datetime) -> Choice:
    patient = not (wanted.by_hand or wanted.force)
    tried = Tried(wanted.failed, wanted.pending, wanted.order_timeout, patient)
    return choose(wanted.spec, status, tried, now)


def _later(
    why: str,
    opens: datetime | None,
    spec: CertificateSpec,
    status: CertificateStatus,
    choice: Choice,
    now: datetime,
) -> Step:
    """Return the step to wait until a CA may be asked again after a failure, which still counts, or
    for the order window, which opens at `opens`.
    """
    state = status.renewal_state
    if opens is not None and not state.failures:
        return AwaitWindow(why, WindowWait(WindowKind.ORDER, opens, spec.order_window))
    retry_at = choice.again or state.retry_at
    at = max((each for each in (retry_at, opens) if each is not None), default=None)
    waits_for = replace(state.latest, retry_at=at)
    return Wait(why, at, earlier_error(spec.name, state.last_error, until(waits_for, now)))


def _other_reason(wanted: Wanted, live: Version | None, now: datetime) -> str | None:
    """Return why to order a certificate that is not due; None if there is no reason."""
    if wanted.force:
        return "requested"
    if not wanted.at_once and window_is_closed(wanted.spec.order_window, now):
        return None
    spec = wanted.spec
    two = spec.second_key_type is not None
    # one of two keys that waits for the other is for a change that its user has to repeat
    left = [
        each for each in wanted.pending if is_resumable(each, now) and (two or not each.finished)
    ]
    requests = [request_of(each) for ca in spec.cas for each in parts_of(spec.at(ca))]
    if spec.autorenew and any(
        each.request in requests and not _is_replaced(each, live) for each in left
    ):
        return "an earlier run left its order unfinished"
    return None


def _is_replaced(order: PendingOrder, live: Version | None) -> bool:
    """Return whether another CA was asked later, and has issued the `live` version."""
    return live is not None and live.request.ca != order.request.ca and order.created <= live.issued


def _window_is_due(spec: CertificateSpec, status: CertificateStatus, now: datetime) -> bool:
    if status.current is None or not spec.autorenew:
        return False
    at = next_request_time(status.current, status.renewal_state, now)
    return at is not None and at <= now


def _without_order(wanted: Wanted, status: CertificateStatus, now: datetime) -> list[Step]:
    """Return the steps that need no order: changed options, a version that waits for its deploy
    window, and a deployment that is pending.
    """
    spec, saved = wanted.spec, wanted.saved
    steps: list[Step] = []
    opens = None if wanted.ignore_windows else deployment_opens(spec, status, now)
    redeploy = status.live is not None and status.undeployed
    if saved is None or spec.chosen != saved.chosen:
        different = saved is None or spec.deploy != saved.deploy
        redeploy = redeploy or (different and wanted.deploys_changes)
        access = saved is None or _access(spec) != _access(saved)
        steps.append(SaveSpec("its options have changed", spec, redeploy, access))
    if status.waiting is not None and spec.autorenew:
        if opens is None:
            why = _why_now(wanted, now)
            return [*steps, Activate(why, status.waiting), Deploy(why)]
        number = status.waiting.number
        wait = WindowWait(WindowKind.DEPLOY, opens, spec.deploy_window, number)
        steps.append(AwaitWindow(f"version {number} waits for its deploy window", wait))
    if not redeploy:
        return steps
    changed = any(isinstance(each, SaveSpec) for each in steps)
    later = None if changed or wanted.by_hand else _deployment_later(spec.name, status, opens, now)
    return [*steps, later or Deploy("its deployment is pending")]


def _why_now(wanted: Wanted, now: datetime) -> str:
    """Return why a version that waited is deployed now."""
    if wanted.ignore_windows:
        return "requested"
    closed = window_is_closed(wanted.spec.deploy_window, now)
    return "what is served has to be replaced" if closed else "its deploy window is open"


def _deployment_later(
    name: str, status: CertificateStatus, opens: datetime | None, now: datetime
) -> Wait | None:
    """Return the step to wait for the next attempt of a deployment that failed, which is in its
    window, at `opens`. What was begun in a window and interrupted is finished at once: None.
    """
    deployment = status.deployment
    retry_at = deployment.retry_at if in_backoff(deployment, now) else None
    times = [each for each in (retry_at, opens if deployment.failures else None) if each]
    if not times:
        return None
    when = again(now, (max(times) - now).total_seconds())
    error = earlier_error(name, deployment.last_error, when, deploy=True)
    return Wait("its deployment is pending", max(times), error, deployment=True)


def _access(spec: CertificateSpec) -> tuple[str | None, int | None]:
    return spec.key_group, spec.key_mode


def _rare_runs(wanted: Wanted, status: CertificateStatus, now: datetime) -> RareRuns | None:
    interval = wanted.interval
    if interval is None or status.current is None or not wanted.spec.autorenew:
        return None
    found = runs_too_rare(wanted.spec, status.current, status.renewal_state, interval, now)
    return None if found is None else RareRuns(*found, interval)


def _withdrawal(wanted: Wanted, status: CertificateStatus, now: datetime) -> Plan:
    """Return the steps to revoke what is intended: with a replacement once that is deployed, else
    now; and what happens to the certificate afterwards.
    """
    spec, state, live = wanted.spec, status.renewal_state, status.live
    why = "it is to be revoked"
    revocations = [Revoke(why, each) for each in state.revocations]
    afterwards = {each.afterwards for each in state.revocations}
    to_revoke = {each.version for each in state.revocations}
    to_replace = live is None or live.number in to_revoke or live.not_after <= now
    orders = to_replace and not afterwards & {Afterwards.DELETE, Afterwards.STOP}
    choice = _choice(wanted, status, now)
    if not orders and not wanted.by_hand and not wanted.force:
        waiting = [each for each in spec.cas if in_backoff(attempts(state, each), now)]
        choice = Choice(None if waiting else spec.ca)
    if choice.ca is None:
        wait = _later(why, None, spec, status, choice, now)
        return Plan(spec, (wait,), next_ca_at=choice.next_at)
    if Afterwards.DELETE in afterwards:
        return Plan(spec, (*revocations, Delete(why)))
    if Afterwards.STOP in afterwards:
        stop = (StopRenewal(why),) if spec.autorenew else ()
        return Plan(spec, (*stop, *revocations))
    if to_replace:
        if wanted.refusal is not None:
            raise wanted.refusal
        replaced = "it replaces a certificate that is to be revoked"
        order = Order(
            replaced,
            spec,
            forced=True,
            new_key=True,
            strict=True,
            ca=choice.ca,
            at_once=True,
        )
        return Plan(spec, (order, Deploy(replaced), *revocations))
    if status.undeployed:
        return Plan(spec, (Deploy("its deployment is pending"), *revocations))
    return Plan(spec, tuple(revocations))
