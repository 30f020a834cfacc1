"""Renewal: order what is due, deploy what is pending, and cost next to nothing otherwise.

The steps of a run: post hooks and placements that a killed run left behind, the decision about each
certificate, pending deployments, pre hooks, orders in parallel, deployments, post hooks. A failure
of one certificate never stops the others. The modules that obtain and deploy are imported only once
something is due.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from certctl.engine.circuit_breaker import CircuitBreaker
from certctl.engine.due import DueWork, RenewRequest, Work, find_work, recheck, skipped
from certctl.engine.memory import record_failure, update_next_action
from certctl.engine.order.rate_limits import warn_of_limits
from certctl.engine.parallel import in_parallel
from certctl.engine.report import Report
from certctl.engine.run import Run
from certctl.engine.specs import require
from certctl.model.errors import CertctlError, Interrupted, LockHeld, unexpected
from certctl.model.events import CertificateFinished, CertificateStarted, RunStarted
from certctl.model.run import Outcome
from certctl.operations.run_report import report_run

if TYPE_CHECKING:
    from certctl.engine.delivery.hooks import RunHooks

__all__ = ["RenewRequest", "renew"]

_BATCH = 200
"""Certificates that are ordered before they are deployed together: bounds the number of locks held,
and how long a new certificate waits for the others before it is deployed.
"""

_THREADS = 100
"""More than `jobs`: a certificate that waits for DNS uses a thread, but no slot."""

_NEVER = datetime.min.replace(tzinfo=UTC)


def renew(request: RenewRequest, run: Run) -> Report:
    """Renew those of the requested certificates that are due, and deploy what is pending."""
    store, now = run.services.store, run.services.clock.now()
    names = require(run, request.names) or tuple(store.names())
    everything = bool(request.names) or request.force or request.dry_run
    candidates = names if everything else tuple(store.possibly_due(names, now))
    errors: list[CertctlError] = []
    outcomes: list[Outcome] = []
    interrupted = False
    try:
        if store.journal.outstanding_post_hooks():
            errors += _run_outstanding_post_hooks(run)
        if certificates := store.journal.with_leftovers():
            _remove_leftovers(certificates, run)
        for name in store.journal.with_interrupted_copies():
            _restore_copies(name, run)
        _remove_temporary_files(run)
        if candidates:
            request = replace(request, interval=store.history().interval)
        if candidates:
            found = find_work(candidates, request, run)
            outcomes += found.outcomes
            _warn_of_interval(found, request.interval, run)
            _carry_out(found, len(names), request, run, outcomes, errors)
    except Interrupted as stopped:
        errors.append(stopped)
        interrupted = True
    place = {name: index for index, name in enumerate(names)}
    outcomes.sort(key=lambda outcome: place[outcome.name])
    report = Report(tuple(outcomes), tuple(errors), len(names), interrupted, request.dry_run)
    if request.regular and names:
        report_run(report, run)
    return report


def _carry_out(
    found: DueWork,
    considered: int,
    request: RenewRequest,
    run: Run,
    outcomes: list[Outcome],
    errors: list[CertctlError],
) -> None:
    """Deploy what is pending, then order what is due, the most urgent first."""
    undeployed = [each for each in found.work if not each.order]
    due = sorted(
        (each for each in found.work if each.order), key=lambda each: each.expires or _NEVER
    )
    if not (undeployed or due):
        return
    now = run.services.clock.now()
    run.services.emit(RunStarted("", now, considered, len(due), len(undeployed)))
    _delay(request, run)
    for batch in _batches(undeployed):
        outcomes += _deployed([_pending_deployment(each, request, run) for each in batch], run)
    if due:
        _order_all(due, request, run, outcomes, errors)


def _order_all(
    due: Sequence[Work],
    request: RenewRequest,
    run: Run,
    outcomes: list[Outcome],
    errors: list[CertctlError],
) -> None:
    """Order what is due between the pre and the post hooks, and deploy it batch by batch."""
    from certctl.engine.delivery.hooks import run_post_hooks, run_pre_hooks  # noqa: PLC0415 - an idle run needs none

    if not request.dry_run:
        warn_of_limits([(each.spec, each.ledger_entry) for each in due if each.ledger_entry], run)
    try:
        run_hooks = run_pre_hooks([each.spec for each in due], run)
    except LockHeld as busy:
        outcomes += [skipped(each.spec.name, busy, run) for each in due]
        return
    breaker, done = CircuitBreaker(), list[Outcome]()
    try:
        for batch in _batches(due):
            ordered: list[Outcome] = []
            try:
                ordered.extend(
                    in_parallel(
                        lambda item: _ordered(*item, request, run_hooks, breaker, run),
                        list(enumerate(batch)),
                        threads=_THREADS,
                    )
                )
                place = {work.spec.name: index for index, work in enumerate(batch)}
                ordered.sort(key=lambda outcome: place[outcome.name])
                ordered = _deployed(ordered, run)
            finally:
                done += ordered
    finally:
        errors += run_post_hooks(run_hooks, done, run)
        outcomes += done


def _ordered(
    rank: int,
    work: Work,
    request: RenewRequest,
    run_hooks: RunHooks,
    breaker: CircuitBreaker,
    run: Run,
) -> Outcome:
    """Order one certificate once it has a slot; a failure becomes its outcome and is recorded.

    Its lock is held from here until it is deployed.
    """
    name, clock = work.spec.name, run.services.clock
    with run.slot(rank):
        run.check()
        run.services.emit(CertificateStarted(name, clock.now(), work.why))
        try:
            outcome = _attempted(work, request, run_hooks, breaker, run)
        except (Interrupted, KeyboardInterrupt):
            raise
        except LockHeld as busy:
            # It was not tried: nothing to record, and no backoff for the next run.
            outcome = replace(work.outcome("failed"), error=busy)
        except CertctlError as error:
            outcome = _failed(work, error, request, run)
        except Exception as error:  # noqa: BLE001 - one certificate never stops the others
            outcome = _failed(work, unexpected(error), request, run)
        code = outcome.error.code if isinstance(outcome.error, CertctlError) else None
        run.services.emit(CertificateFinished(name, clock.now(), outcome.action, code))
        return outcome


def _attempted(
    work: Work, request: RenewRequest, run_hooks: RunHooks, breaker: CircuitBreaker, run: Run
) -> Outcome:
    """Do what one certificate needs, unless another process did it in the meantime."""
    from certctl.engine.dry_run import dry_run  # noqa: PLC0415 - an idle run needs no CA
    from certctl.engine.order.obtain import (  # noqa: PLC0415 - an idle run needs no CA
        names_missing,
        obtain,
    )

    current = recheck(work, request, run)
    if not current.work:
        return next(iter(current.outcomes), work.outcome("unchanged"))
    work = current.work[0]
    spec = work.spec
    if not work.order:
        return work.outcome("deployed")
    if (refused := run_hooks.refused.get(spec.name)) is not None:
        raise refused
    if (refusal := breaker.error_if_open(spec.ca)) is not None:
        if not request.dry_run:
            record_failure(spec.name, refusal, run, tried=False)
        return replace(work.outcome("failed"), error=refusal)
    try:
        if request.dry_run:
            tested = replace(work.outcome("dry-run"), reason=dry_run(spec, run))
            breaker.record(spec.ca, None)
            return tested
        version = obtain(spec, run, forced=request.force)
    except CertctlError as error:
        breaker.record(spec.ca, error)
        raise
    breaker.record(spec.ca, None)
    missing = names_missing(spec, version, run)
    return replace(work.outcome("issued"), version=version, incomplete=missing)


def _failed(work: Work, error: CertctlError, request: RenewRequest, run: Run) -> Outcome:
    if not request.dry_run:
        record_failure(work.spec.name, error, run)
    return replace(work.outcome("failed"), error=error)


def _pending_deployment(work: Work, request: RenewRequest, run: Run) -> Outcome:
    """Return the outcome for a certificate whose deployment is pending, with its lock held."""
    current = recheck(work, request, run)
    if current.work:
        return work.outcome("deployed")
    return next(iter(current.outcomes), work.outcome("unchanged"))


def _deployed(outcomes: list[Outcome], run: Run) -> list[Outcome]:
    """Deploy what was issued or is pending, record each next action, and release the locks."""
    from certctl.engine.delivery.deliver import deliver  # noqa: PLC0415 - an idle run needs none

    names = [each.name for each in outcomes if each.action in {"issued", "deployed"}]
    try:
        results = {result.name: result for result in deliver(names, run)} if names else {}
        for name in names:
            update_next_action(name, run)
    finally:
        for each in outcomes:
            run.release(each.name)
    return [replace(each, deploy=results.get(each.name, each.deploy)) for each in outcomes]


def _remove_leftovers(names: Sequence[str], run: Run) -> None:
    """Remove challenge answers that interrupted orders left, even if no certificate is due.

    Certificates locked by another process are left to it.
    """
    from certctl.engine.order.authorize import (  # noqa: PLC0415 - an idle run needs no CA
        remove_leftovers,
    )

    def remove(name: str) -> None:
        try:
            run.lock(name, timeout=0)
            remove_leftovers(name, run)
        except LockHeld:
            return
        except Interrupted:
            raise
        except CertctlError as error:
            run.warn(f"the challenge answers could not be removed: {error.message}", name)
        finally:
            run.release(name)

    # In parallel, so that records of one zone are removed together.
    deque(in_parallel(remove, names, threads=run.services.settings.integer("jobs")), maxlen=0)


def _restore_copies(name: str, run: Run) -> None:
    """Put back copies that a killed run left half-written, unless another process does it."""
    from certctl.engine.delivery.steps import restore_copies  # noqa: PLC0415 - an idle run needs none

    try:
        run.lock(name, timeout=0)
        restore_copies(name, run)
    except LockHeld:
        return
    except Interrupted:
        raise
    except CertctlError as error:
        run.warn(f"its copies could not be restored: {error.message}", name)
    finally:
        run.release(name)


def _remove_temporary_files(run: Run) -> None:
    """Remove what killed runs left of certificates that may never be locked again, such as the keys
    of a certificate that was being deleted.
    """
    for name in run.services.store.names_with_leftovers():
        run.check()
        try:
            run.lock(name, timeout=0)  # taking the lock removes them
        except LockHeld:
            continue
        except Interrupted:
            raise
        except CertctlError as error:
            run.warn(f"its temporary files could not be removed: {error.message}", name)
        finally:
            run.release(name)


def _warn_of_interval(found: DueWork, interval: timedelta | None, run: Run) -> None:
    """Warn if runs are so rare that certificates would be renewed late."""
    if found.interval_too_long is not None and interval is not None:
        available, what = found.interval_too_long
        run.warn(
            f"renew runs every {_hours(interval)}, but {what} is only {_hours(available)} long for"
            " some certificates; run it every hour"
        )


def _hours(duration: timedelta) -> str:
    hours = duration.total_seconds() / 3600
    return f"{hours:.0f} h" if hours >= 10 else f"{hours:.1f} h"


def _batches(work: Sequence[Work]) -> list[Sequence[Work]]:
    return [work[start : start + _BATCH] for start in range(0, len(work), _BATCH)]


def _delay(request: RenewRequest, run: Run) -> None:
    """Wait a random time, so that not all cron jobs reach the CA at the full hour."""
    longest = run.services.settings.seconds("random_delay")
    if request.unattended and longest > 0:
        run.services.clock.wait(run.stop, run.services.random.uniform(0, longest))
        run.check()


def _run_outstanding_post_hooks(run: Run) -> list[CertctlError]:
    from certctl.engine.delivery.hooks import run_outstanding_post_hooks  # noqa: PLC0415 - idle runs need none

    return run_outstanding_post_hooks(run)
