"""What each certificate needs: an order, a pending deployment, or nothing for now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from certctl.engine.delivery.live_version import activate_wanted
from certctl.engine.memory import earlier_error, update_next_action
from certctl.engine.order.rate_limits import order_for
from certctl.engine.parallel import in_parallel
from certctl.engine.run import Run
from certctl.engine.specs import load, protect_public
from certctl.model.ca import LedgerEntry
from certctl.model.certificate import RenewalState
from certctl.model.delivery import DeployResult
from certctl.model.errors import CertctlError, Interrupted, LockHeld, UnknownCertificate, unexpected
from certctl.model.events import Skipped
from certctl.model.lazy_dataclass import dataclass
from certctl.model.run import Outcome
from certctl.model.spec import CertificateSpec
from certctl.model.status import CertificateStatus
from certctl.rules.renewal import (
    LONGEST_INTERVAL,
    attempts,
    decide,
    in_backoff,
    interval_too_long,
)
from certctl.rules.waiting import until

_THREADS = 16
"""Certificates that are checked in parallel: ARI queries are what takes time."""


@dataclass(frozen=True)
class RenewRequest:
    """A request to `renew`; all certificates if `names` is empty.

    `unattended`: the run was started by a timer, not by a person. If something is due, it first
    waits for a random time up to the setting `random_delay`. `interval`, which `renew` fills in, is
    the usual time between unattended runs, None if it is not known.
    """

    names: tuple[str, ...] = ()
    force: bool = False
    dry_run: bool = False
    unattended: bool = False
    interval: timedelta | None = None

    @property
    def regular(self) -> bool:
        """Whether this is a scheduled run for all certificates, as a timer starts it."""
        return self.unattended and not (self.names or self.force or self.dry_run)


@dataclass(frozen=True)
class Work:
    """A certificate that needs an order, or only a pending deployment (`order` is False).

    `expires` is when the live version expires, None if there is none. `ledger_entry` is what an
    order would count as in the CA's rate limits.
    """

    spec: CertificateSpec
    order: bool
    why: str
    expires: datetime | None = None
    ledger_entry: LedgerEntry | None = None

    def outcome(self, action: str) -> Outcome:
        """Return an outcome of this work."""
        domains = tuple(each.value for each in self.spec.identifiers)
        return Outcome(self.spec.name, action, domains, reason=self.why)


@dataclass(frozen=True)
class DueWork:
    """The work to do, and the outcomes of the certificates that need none now.

    `interval_too_long`: if `renew` runs too rarely, the time available for a renewal, and a phrase
    for it.
    """

    outcomes: tuple[Outcome, ...] = ()
    work: tuple[Work, ...] = ()
    interval_too_long: tuple[timedelta, str] | None = None


def find_work(names: Sequence[str], request: RenewRequest, run: Run) -> DueWork:
    """Return what the certificates need, in the order of `names`; query their CAs for renewal
    information (ARI) if a query is due.
    """
    index = {name: number for number, name in enumerate(names)}
    found = list(
        in_parallel(
            lambda name: (index[name], _check_due(name, request, run)),
            names,
            threads=_THREADS,
        )
    )
    in_order = [each for _, each in sorted(found, key=lambda pair: pair[0])]
    too_long = [each.interval_too_long for each in in_order if each.interval_too_long is not None]
    return DueWork(
        outcomes=tuple(outcome for each in in_order for outcome in each.outcomes),
        work=tuple(work for each in in_order for work in each.work),
        interval_too_long=min(too_long, default=None),
    )


def recheck(work: Work, request: RenewRequest, run: Run) -> DueWork:
    """Lock the certificate and decide again, since its state may have changed in the meantime.

    The lock is kept if there is still something to do.
    """
    return _check_due(work.spec.name, request, run, keep_lock=True)


def skipped(name: str, busy: LockHeld, run: Run) -> Outcome:
    """Emit that a certificate is skipped because another process holds its lock; return the
    outcome.
    """
    run.services.emit(Skipped(name, run.services.clock.now(), busy.message))
    return Outcome(name, "busy", reason=busy.message)


def _check_due(name: str, request: RenewRequest, run: Run, *, keep_lock: bool = False) -> DueWork:
    """Decide about one certificate with its lock held; return nothing if it has been deleted since
    the names were read.
    """
    run.check()
    found = DueWork()
    try:
        run.lock(name, timeout=0)
        found = _decide(name, request, run)
    except (Interrupted, KeyboardInterrupt):
        raise
    except LockHeld as busy:
        return DueWork((skipped(name, busy, run),))
    except UnknownCertificate:
        found = DueWork()
    except CertctlError as error:
        found = DueWork((Outcome(name, "failed", error=error),))
    except Exception as error:  # noqa: BLE001 - one certificate must not stop the others
        found = DueWork((Outcome(name, "failed", error=unexpected(error)),))
    finally:
        if not (keep_lock and found.work):
            run.release(name)
    return found


def _decide(name: str, request: RenewRequest, run: Run) -> DueWork:
    spec, status = load(run, name), activate_wanted(name, run, respect_backoff=True)
    known = status.renewal_state
    forced = request.dry_run or (request.force and (spec.autorenew or name in request.names))
    if not forced and spec.autorenew:
        status = _with_renewal_info(spec, status, run)
    now, live = run.services.clock.now(), status.live
    expires = live.facts.not_after if live is not None else None
    next_run = min(request.interval or timedelta(0), LONGEST_INTERVAL)
    decision = decide(spec, status, now, next_run)
    if request.dry_run:
        from certctl.engine.dry_run import (  # noqa: PLC0415 - an idle run needs no CA
            require_dry_run,
        )

        require_dry_run(spec, run)  # fail before any hook runs
    elif decision.due:
        protect_public(spec, status, force=request.force)
    too_long = None
    if request.interval is not None and live is not None and spec.autorenew:
        too_long = interval_too_long(live, status.renewal_state, request.interval)
    if forced or (decision.due and not in_backoff(attempts(status.renewal_state, spec.ca), now)):
        why = "requested" if forced else decision.why
        entry = order_for(spec, status, now)
        _save_if_changed(name, known, status, run)
        order = Work(spec, order=True, why=why, expires=expires, ledger_entry=entry)
        return DueWork((), (order,), too_long)
    domains = tuple(each.value for each in spec.identifiers)
    outcomes: list[Outcome] = []
    work: list[Work] = []
    if decision.due:
        tried = attempts(status.renewal_state, spec.ca)
        error = earlier_error(name, tried.last_error, until(tried, now))
        outcomes.append(Outcome(name, "waiting", domains, error=error))
    if status.undeployed and in_backoff(status.deployment, now):
        when = until(status.deployment, now)
        error = earlier_error(name, status.deployment.last_error, when, deploy=True)
        pending = DeployResult(name, status.deployment.wanted or 0, deployed=False, error=error)
        outcomes.append(Outcome(name, "undeployed", domains, live, deploy=pending))
    elif status.undeployed:
        work.append(Work(spec, order=False, why="its deployment is pending", expires=expires))
    if outcomes or work:
        _save_if_changed(name, known, status, run)
    else:
        update_next_action(name, run, (spec, status))
        unchanged = Outcome(name, "unchanged", domains, live, reason=decision.why)
        outcomes.append(replace(unchanged, renews_at=decision.at))
    return DueWork(tuple(outcomes), tuple(work), too_long)


def _with_renewal_info(
    spec: CertificateSpec, status: CertificateStatus, run: Run
) -> CertificateStatus:
    """Query the CA for renewal information (ARI) if a query is due; return the updated status,
    which is not saved yet.
    """
    from certctl.engine.order.ari import (  # noqa: PLC0415 - an idle run needs no CA
        ask_for_renewal_info,
    )

    if status.live is None:
        return status
    renewal_state = ask_for_renewal_info(spec, status.live, status.renewal_state, run)
    return replace(status, renewal_state=renewal_state)


def _save_if_changed(name: str, known: RenewalState, status: CertificateStatus, run: Run) -> None:
    """Save what the CA said, for work that reads it again."""
    if status.renewal_state is not known:
        now = run.services.clock.now()
        run.services.store.save_renewal_state(name, status.renewal_state, next_action_at=now)
