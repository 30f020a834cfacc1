"""What there is to do for each certificate: an order, a deploy that is owed, or nothing for now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from certctl.errors import CertctlError, Interrupted, LockHeld, UnknownCertificate, unexpected
from certctl.events import Skipped
from certctl.models import CertificateSpec, CertificateStatus, DeployResult, LedgerEntry, Outcome
from certctl.operations.live_version import activate_wanted
from certctl.operations.memory import earlier_error, update_next_action
from certctl.operations.parallel import in_parallel
from certctl.operations.rate_limit_forecast import order_for
from certctl.operations.run import Run
from certctl.operations.specs import load, protect_public, staging_of
from certctl.renewal import decide, in_backoff, interval_too_long

_LONGEST_INTERVAL = timedelta(days=1)
_ASKING = 16
"""Certificates that are looked at side by side: what takes time is to ask the CA."""


@dataclass(frozen=True)
class RenewRequest:
    """What the caller asked for: all certificates where `names` is empty.

    `unattended`: nobody watches, so that a run with something due waits a random time first, up to
    the setting `random_delay`, and the times of such runs tell how often they come: `interval`,
    which `renew` fills in, is their usual distance, None where it is not known.
    """

    names: tuple[str, ...] = ()
    force: bool = False
    dry_run: bool = False
    unattended: bool = False
    interval: timedelta | None = None

    @property
    def regular(self) -> bool:
        """Whether this is what a timer does, again and again."""
        return self.unattended and not (self.names or self.force or self.dry_run)


@dataclass(frozen=True)
class Work:
    """A certificate with something to do: an order, or only a deploy that is owed. `expires` is
    when the live one does, None without one. `asks` is what an order is to the CA's limits.
    """

    spec: CertificateSpec
    order: bool
    why: str
    expires: datetime | None = None
    asks: LedgerEntry | None = None

    def outcome(self, action: str) -> Outcome:
        """Return an outcome of this work."""
        domains = tuple(each.value for each in self.spec.identifiers)
        return Outcome(self.spec.name, action, domains, reason=self.why)


@dataclass(frozen=True)
class DueWork:
    """What there is to do, and what became of certificates for which there is nothing to do now.
    `interval_too_long`: if runs come too rarely, the time that there is for a renewal, and what
    that is called.
    """

    outcomes: tuple[Outcome, ...] = ()
    work: tuple[Work, ...] = ()
    interval_too_long: tuple[timedelta, str] | None = None


def find_work(names: Sequence[str], request: RenewRequest, run: Run) -> DueWork:
    """Decide about certificates, asking their CAs for advice where the time has come for that."""
    place = {name: index for index, name in enumerate(names)}
    found = list(
        in_parallel(
            lambda name: (place[name], _examined(name, request, run)),
            names,
            threads=_ASKING,
        )
    )
    in_order = [each for _, each in sorted(found, key=lambda pair: pair[0])]
    seldom = [each.interval_too_long for each in in_order if each.interval_too_long is not None]
    return DueWork(
        outcomes=tuple(outcome for each in in_order for outcome in each.outcomes),
        work=tuple(work for each in in_order for work in each.work),
        interval_too_long=min(seldom, default=None),
    )


def recheck(work: Work, request: RenewRequest, run: Run) -> DueWork:
    """Take the certificate's lock, and decide again: much may have happened since the first look.

    The lock is kept where there is still something to do.
    """
    return _examined(work.spec.name, request, run, keep=True)


def skipped(name: str, busy: LockHeld, run: Run) -> Outcome:
    """Say that another process works on a certificate, and return that as its outcome."""
    run.services.emit(Skipped(name, run.services.clock.now(), busy.message))
    return Outcome(name, "busy", reason=busy.message)


def _examined(name: str, request: RenewRequest, run: Run, *, keep: bool = False) -> DueWork:
    """Decide about one certificate with its lock held; one that was deleted since the names were
    read gives nothing.
    """
    run.check()
    found = DueWork()
    try:
        run.lock(name, timeout=0)
        found = _decided(name, request, run)
    except (Interrupted, KeyboardInterrupt):
        raise
    except LockHeld as busy:
        return DueWork((skipped(name, busy, run),))
    except UnknownCertificate:
        found = DueWork()
    except CertctlError as error:
        found = DueWork((Outcome(name, "failed", error=error),))
    except Exception as error:  # noqa: BLE001 - one certificate never stops the others
        found = DueWork((Outcome(name, "failed", error=unexpected(error)),))
    finally:
        if not (keep and found.work):
            run.release(name)
    return found


def _decided(name: str, request: RenewRequest, run: Run) -> DueWork:
    spec, status = load(run, name), activate_wanted(name, run, respect_backoff=True)
    forced = request.dry_run or (request.force and (spec.autorenew or name in request.names))
    if not forced and spec.autorenew:
        status = _by_ari(spec, status, run)
    now, live = run.services.clock.now(), status.live
    expires = live.facts.not_after if live is not None else None
    next_run = min(request.interval or timedelta(0), _LONGEST_INTERVAL)
    decision = decide(spec, status, now, next_run)
    if request.dry_run:
        staging_of(spec)  # where there is none, no hook has to run to find that out
    elif decision.due:
        protect_public(spec, status, force=request.force)
    seldom = None
    if request.interval is not None and live is not None and spec.autorenew:
        seldom = interval_too_long(live, status.renewal_state, request.interval)
    if forced or (decision.due and not in_backoff(status.renewal_state, now)):
        why = "asked for" if forced else decision.why
        asks = order_for(spec, status, now)
        return DueWork((), (Work(spec, order=True, why=why, expires=expires, asks=asks),), seldom)
    domains = tuple(each.value for each in spec.identifiers)
    outcomes: list[Outcome] = []
    work: list[Work] = []
    if decision.due:
        error = earlier_error(name, status.renewal_state.last_error)
        outcomes.append(Outcome(name, "waiting", domains, error=error))
    if status.undeployed and in_backoff(status.deployment, now):
        error = earlier_error(name, status.deployment.last_error, deploy=True)
        owed = DeployResult(name, status.deployment.wanted or 0, deployed=False, error=error)
        outcomes.append(Outcome(name, "undeployed", domains, live, deploy=owed))
    elif status.undeployed:
        work.append(Work(spec, order=False, why="its deploy is owed", expires=expires))
    if not (outcomes or work):
        update_next_action(name, run)
        unchanged = Outcome(name, "unchanged", domains, live, reason=decision.why)
        outcomes.append(replace(unchanged, renews_at=decision.at))
    return DueWork(tuple(outcomes), tuple(work), seldom)


def _by_ari(spec: CertificateSpec, status: CertificateStatus, run: Run) -> CertificateStatus:
    """Return the status with the CA's advice in its memory, asked for where it is time to."""
    from certctl.operations.ari import (  # noqa: PLC0415 - an idle run needs no CA
        ask_for_renewal_info,
    )

    if status.live is None:
        return status
    renewal_state = ask_for_renewal_info(spec, status.live, status.renewal_state, run)
    if renewal_state is not status.renewal_state:
        now = run.services.clock.now()
        run.services.store.save_renewal_state(spec.name, renewal_state, next_action_at=now)
    return replace(status, renewal_state=renewal_state)
