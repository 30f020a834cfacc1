"""Renewal state: what a run records for the next one, such as the next action and failures.

The caller holds the certificate's lock.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from certctl.engine.run import Run
from certctl.engine.specs import load
from certctl.model.certificate import LastError
from certctl.model.errors import CaUnavailable, CertctlError, DeployFailed, RateLimited
from certctl.model.events import Failed
from certctl.model.spec import CertificateSpec
from certctl.model.status import CertificateStatus
from certctl.rules.renewal import (
    LONGEST_INTERVAL,
    after_failure,
    after_postponement,
    decide,
    next_action,
    no_longer_due,
)


def update_next_action(
    name: str, run: Run, known: tuple[CertificateSpec, CertificateStatus] | None = None
) -> None:
    """Record when `renew` next has something to do for a certificate, together with the renewal
    state in `known`: its spec and status, read anew if they are not given.
    """
    store, now = run.services.store, run.services.clock.now()
    spec, status = known or (load(run, name), store.status(name))
    if status.renewal_state.failures and not decide(spec, status, now).due:
        status = replace(status, renewal_state=no_longer_due(status.renewal_state))
    store.save_renewal_state(
        name, status.renewal_state, next_action_at=next_action(spec, status, now)
    )


def record_failure(name: str, error: CertctlError, run: Run, *, tried: bool = True) -> None:
    """Record and report a failed attempt. `tried` is False if the attempt was only postponed, since
    others had failed for a reason that applies to all.

    Only reported is a failure to renew by force, or to change, a certificate that is not due:
    `renew` has nothing to do for it, so it is not failing.
    """
    store, now = run.services.store, run.services.clock.now()
    run.services.emit(Failed(name, now, error.code, error.message))
    if name not in store.names():
        return
    status = store.status(name)
    if not _is_due(name, status, run):
        return
    facts = status.live.facts if status.live else None
    rule = after_failure if tried else after_postponement
    state = rule(status.renewal_state, _ca(name, status, run), error, now, facts)
    store.save_renewal_state(name, state, next_action_at=now)


def _ca(name: str, status: CertificateStatus, run: Run) -> str | None:
    """Return the CA that a failure is recorded for: the spec's, or if that cannot be read, the live
    version's; None if there is no version either.
    """
    try:
        return load(run, name).ca
    except CertctlError:
        return status.live.request.ca if status.live else None


def _is_due(name: str, status: CertificateStatus, run: Run) -> bool:
    """Return whether `renew` would order a certificate now, apart from its backoff."""
    interval = run.services.store.history().interval or timedelta(0)
    try:
        spec = load(run, name)
    except CertctlError:
        return True  # what it should be is unknown: the failure counts
    return decide(spec, status, run.services.clock.now(), min(interval, LONGEST_INTERVAL)).due


def earlier_error(
    name: str, last: LastError | None, next_attempt: str | None = None, *, deploy: bool = False
) -> CertctlError:
    """Return the error of an earlier attempt whose backoff has not ended: it still counts.
    `next_attempt` is when that is, in words.
    """
    if last is None:
        return CertctlError("an earlier attempt failed", name=name)
    when = f"{last.at:%Y-%m-%d %H:%M} UTC"
    until = f" ({next_attempt})" if next_attempt else ""
    message = f"failed at {when}; waiting before the next attempt{until}: {last.message}"
    limited = last.failure == RateLimited.failure
    hint = last.hint or f"To retry now, run: certctl renew --force {name}"
    if limited:  # what is forced counts towards the limit, too; the old hint's times are past
        hint = "The next run of renew after that time tries again by itself."
    if deploy:
        return DeployFailed(message, hint=last.hint, name=name, code=last.code)
    if last.code == CaUnavailable.code:
        return CaUnavailable(message, hint=hint, name=name)
    if limited:
        return RateLimited(message, hint=hint, name=name, code=last.code)
    return CertctlError(message, hint=hint, name=name, code=last.code)
