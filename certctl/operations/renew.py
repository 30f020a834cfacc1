"""Renewal: what is due is ordered, what is owed is deployed, and everything else costs nothing.

The order of a run: post hooks that a killed run left behind, then which certificates there is
something to do for, then pre hooks, orders, deploys, post hooks. One failure never stops the
others. What obtains and deploys is imported once something is due, and not before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from certctl.errors import (
    CaUnavailable,
    CertctlError,
    DeployFailed,
    Interrupted,
    LockHeld,
    RateLimited,
    UnknownCertificate,
)
from certctl.events import Failed, Skipped
from certctl.models import (
    CertificateSpec,
    DeployResult,
    LastError,
    Outcome,
)
from certctl.operations.report import Report
from certctl.operations.run import Run
from certctl.operations.specs import load, protect_public, require, staging_of
from certctl.operations.targets import with_target_live
from certctl.renewal import after_failure, decide, next_action, no_longer_due, waiting


@dataclass(frozen=True)
class RenewRequest:
    """What the caller asked for: all certificates where `names` is empty.

    `delay`: where something is due, wait a random time first, up to the setting `random_delay`.
    """

    names: tuple[str, ...] = ()
    force: bool = False
    dry_run: bool = False
    delay: bool = False


@dataclass(frozen=True)
class _Work:
    """A certificate with something to do, its lock held: an order, or only a deploy that is
    owed.
    """

    spec: CertificateSpec
    order: bool
    why: str


def renew(request: RenewRequest, run: Run) -> Report:
    """Renew what is due of the certificates asked for, deploy what is owed, and report."""
    store, now = run.services.store, run.services.clock.now()
    names = require(run, request.names) or tuple(store.names())
    everything = bool(request.names) or request.force or request.dry_run
    candidates = names if everything else tuple(store.busy(names, now))
    errors: list[CertctlError] = []
    outcomes: list[Outcome] = []
    work: list[_Work] = []
    interrupted = False
    try:
        if store.journal.owed_post_hooks():
            errors += _pay_post_hooks(run)
        for name in candidates:
            run.check()
            found = _examine(name, request, run)
            outcomes += [each for each in found if isinstance(each, Outcome)]
            work += [each for each in found if isinstance(each, _Work)]
        if work:
            _delay(request, run)
            _carry_out(work, request, run, outcomes, errors)
    except Interrupted as stopped:
        errors.append(stopped)
        interrupted = True
    place = {name: index for index, name in enumerate(names)}
    outcomes.sort(key=lambda outcome: place[outcome.name])
    return Report(tuple(outcomes), tuple(errors), len(names), interrupted, request.dry_run)


def remember(name: str, run: Run) -> None:
    """Write down when `renew` has to look at a certificate again; its lock is held."""
    store, now = run.services.store, run.services.clock.now()
    spec, status = load(run, name), store.status(name)
    if status.memory.failures and not decide(spec, status, now).due:
        status = replace(status, memory=no_longer_due(status.memory))
    store.save_memory(name, status.memory, next_action_at=next_action(spec, status, now))


def remember_failure(name: str, error: CertctlError, run: Run) -> None:
    """Write down that an attempt failed, and say it; its lock is held."""
    store, now = run.services.store, run.services.clock.now()
    run.services.emit(Failed(name, now, error.code, error.message))
    if name not in store.names():
        return
    status = store.status(name)
    not_after = status.live.facts.not_after if status.live else None
    memory = after_failure(status.memory, error, now, not_after)
    store.save_memory(name, memory, next_action_at=now)


def _delay(request: RenewRequest, run: Run) -> None:
    """Wait a random time, so that the world's cron jobs do not all come at the full hour."""
    longest = run.services.settings.seconds("random_delay")
    if request.delay and longest > 0:
        run.services.clock.wait(run.stop, run.services.random.uniform(0, longest))
        run.check()


def _examine(name: str, request: RenewRequest, run: Run) -> list[Outcome | _Work]:
    """Decide about one certificate with its lock held; the lock stays held where there is work.

    One that was deleted since the names were read gives nothing.
    """
    try:
        run.lease(name, timeout=0)
        found = _decide(name, request, run)
    except Interrupted:
        raise
    except LockHeld as busy:
        return [_passed_over(name, busy, run)]
    except UnknownCertificate:
        found = []
    except CertctlError as error:
        found = [Outcome(name, "failed", error=error)]
    if not any(isinstance(each, _Work) for each in found):
        run.release(name)
    return found


def _passed_over(name: str, busy: LockHeld, run: Run) -> Outcome:
    run.services.emit(Skipped(name, run.services.clock.now(), busy.message))
    return Outcome(name, "busy", reason=busy.message)


def _decide(name: str, request: RenewRequest, run: Run) -> list[Outcome | _Work]:
    now = run.services.clock.now()
    spec, status = load(run, name), with_target_live(name, run)
    decision = decide(spec, status, now)
    domains = tuple(each.value for each in spec.identifiers)
    forced = request.dry_run or (request.force and (spec.autorenew or name in request.names))
    found: list[Outcome | _Work] = []
    if request.dry_run:
        staging_of(spec)  # where there is none, no hook has to run to find that out
    elif decision.due:
        protect_public(spec, status, force=request.force)
    if forced:
        return [_Work(spec, order=True, why="asked for")]
    if decision.due and waiting(status.memory, now):
        found.append(
            Outcome(name, "waiting", domains, error=_remembered(name, status.memory.last_error))
        )
    elif decision.due:
        return [_Work(spec, order=True, why=decision.why)]
    if status.owed and waiting(status.deployment, now):
        error = _remembered(name, status.deployment.last_error, deploy=True)
        owed = DeployResult(name, status.deployment.target or 0, deployed=False, error=error)
        found.append(Outcome(name, "owed", domains, status.live, deploy=owed))
    elif status.owed:
        found.append(_Work(spec, order=False, why="its deploy is owed"))
    if not found:
        remember(name, run)
        unchanged = Outcome(name, "unchanged", domains, status.live, reason=decision.why)
        found.append(replace(unchanged, renews_at=decision.at))
    return found


def _carry_out(
    work: list[_Work],
    request: RenewRequest,
    run: Run,
    outcomes: list[Outcome],
    errors: list[CertctlError],
) -> None:
    """Order what is due between the pre and the post hooks, then deploy what is new or owed."""
    from certctl.operations.surround import after, before  # noqa: PLC0415 - an idle run needs none

    ordering = [each for each in work if each.order]
    done: list[Outcome] = []
    try:
        surrounded = before([each.spec for each in ordering], run) if ordering else None
    except LockHeld as busy:
        outcomes += [_passed_over(each.spec.name, busy, run) for each in ordering]
        work, ordering, surrounded = [each for each in work if not each.order], [], None
    try:
        for each in ordering:
            run.check()
            refused = surrounded.refused.get(each.spec.name) if surrounded else None
            done.append(_order(each, request, refused, run))
        if not request.dry_run:
            owed = [_outcome(each, "deployed") for each in work if not each.order]
            done[:] = _deliver([*done, *owed], run)
    finally:
        if surrounded is not None:
            errors += after(surrounded, done, run)
        outcomes += done


def _order(work: _Work, request: RenewRequest, refused: CertctlError | None, run: Run) -> Outcome:
    """Order one certificate; a failure becomes its outcome and its memory."""
    from certctl.operations.obtain import obtain  # noqa: PLC0415 - an idle run needs no CA
    from certctl.operations.rehearse import rehearse  # noqa: PLC0415 - an idle run needs no CA

    try:
        if refused is not None:
            raise refused
        if request.dry_run:
            rehearse(work.spec, run)
            return _outcome(work, "rehearsed")
        return replace(_outcome(work, "issued"), version=obtain(work.spec, run))
    except Interrupted:
        raise
    except CertctlError as error:
        if not request.dry_run:
            remember_failure(work.spec.name, error, run)
        return replace(_outcome(work, "failed"), error=error)


def _deliver(outcomes: list[Outcome], run: Run) -> list[Outcome]:
    """Deploy what was issued or owed, and write down when each is to be looked at again."""
    from certctl.operations.deliver import deliver  # noqa: PLC0415 - an idle run needs none

    names = [each.name for each in outcomes if each.error is None]
    results = {result.name: result for result in deliver(names, run)} if names else {}
    for name in names:
        remember(name, run)
    return [replace(each, deploy=results.get(each.name)) for each in outcomes]


def _outcome(work: _Work, action: str) -> Outcome:
    domains = tuple(each.value for each in work.spec.identifiers)
    return Outcome(work.spec.name, action, domains, reason=work.why)


def _pay_post_hooks(run: Run) -> list[CertctlError]:
    from certctl.operations.surround import pay_post_hooks  # noqa: PLC0415 - idle runs need none

    return pay_post_hooks(run)


def _remembered(name: str, last: LastError | None, *, deploy: bool = False) -> CertctlError:
    """Return the error of an earlier run that is waiting out its backoff: it still counts."""
    if last is None:
        return CertctlError("an earlier attempt failed", name=name)
    when = f"{last.at:%Y-%m-%d %H:%M} UTC"
    message = f"failed at {when} and waits before the next attempt: {last.message}"
    hint = last.hint or f"Try again at once: certctl renew --force {name}"
    if deploy:
        return DeployFailed(message, hint=last.hint, name=name, code=last.code)
    if last.code == CaUnavailable.code:
        return CaUnavailable(message, hint=hint, name=name)
    if last.failure == RateLimited.failure:
        return RateLimited(message, hint=hint, name=name, code=last.code)
    return CertctlError(message, hint=hint, name=name, code=last.code)
