"""What a run records for the next one: failures, and when `renew` next has something to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from certctl.engine.held import Held
from certctl.engine.rows import row_to_save
from certctl.engine.run import Run
from certctl.model.errors import CertctlError
from certctl.rules.renewal import (
    LONGEST_INTERVAL,
    after_failure,
    after_postponement,
    decide,
    no_longer_due,
)
from certctl.rules.renewal_windows import next_action


def remember(held: Held, run: Run) -> None:
    """Record when `renew` next has something to do for a certificate."""
    now, status = run.services.clock.now(), held.status
    spec = held.spec
    if status.renewal_state.failures and not _is_due(held, run):
        status = replace(status, renewal_state=no_longer_due(status.renewal_state))
    held.save_renewal_state(
        status.renewal_state,
        next_action_at=next_action(spec, status, now),
        row=row_to_save(spec, status, now),
    )


def record_failure(
    held: Held,
    error: CertctlError,
    run: Run,
    *,
    tried: bool = True,
    requested: bool = False,
    ca: str | None = None,
) -> None:
    """Record a failed attempt. `tried` is False if the attempt was only postponed, since others had
    failed for a reason that applies to all. `requested`: a person requested it, so that it is due
    until it succeeds. `ca` is the one that was asked, by default the first of the certificate's.

    Nothing is recorded for a new certificate, and for a change that failed to one that is not due:
    the change was not saved, and `renew` has nothing to do.
    """
    now = run.services.clock.now()
    try:
        new = held.saved is None
    except CertctlError:
        new = False  # its spec is invalid: the failure counts
    if new:
        return
    if requested:
        held.carry(replace(held.renewal_state, requested=now))
    if not _is_due(held, run):
        return
    facts = held.live.facts if held.live else None
    rule = after_failure if tried else after_postponement
    state = rule(held.renewal_state, ca or _ca(held), error, now, facts)
    held.save_renewal_state(state, next_action_at=now)


def _ca(held: Held) -> str | None:
    """Return the CA that a failure is recorded for: the spec's, or if that cannot be read, the live
    version's; None if there is no version either.
    """
    try:
        return held.spec.ca
    except CertctlError:
        return held.live.request.ca if held.live else None


def _is_due(held: Held, run: Run) -> bool:
    """Return whether `renew` has something to order or to revoke now, apart from the backoff."""
    if held.renewal_state.revocations:
        return True
    interval = run.services.machine.history().interval or timedelta(0)
    try:
        spec = held.spec
    except CertctlError:
        return True  # what it should be is unknown: the failure counts
    now = run.services.clock.now()
    return decide(spec, held.status, now, min(interval, LONGEST_INTERVAL)).due
