"""What an earlier run recorded, without the times that do not count (`rules.remembered_times`).

Pure functions of the models and a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from certctl.model.ca import LedgerEntry
from certctl.model.certificate import AriState, Attempts, RenewalState, Version
from certctl.model.delivery import Deployment
from certctl.model.run import RunHistory
from certctl.rules.remembered_times import believed, in_future
from certctl.rules.renewal import BACKOFF, LONGEST_PAUSE, latest_renewal


def believed_renewal_state(
    renewal_state: RenewalState,
    version: Version | None,
    saved_at: datetime | None,
    now: datetime,
) -> RenewalState:
    """Return the renewal state of a certificate with this current version, without what does not
    count. `saved_at` is when the state was saved, None if unknown.

    A failure in the future does not count at all. Versions that are revoked and keys that are
    compromised are not a matter of time.
    """
    attempts = (_believed_attempts(each, version, now) for each in renewal_state.attempts)
    ari = (_believed_ari(each, version, saved_at, now) for each in renewal_state.ari)
    return replace(
        renewal_state,
        attempts=tuple(each for each in attempts if each is not None),
        ari=tuple(ari),
        renewed_by_ari=believed(renewal_state.renewed_by_ari, now),
        requested=believed(renewal_state.requested, now),
        paused_until=_believed_pause(renewal_state.paused_until, version, now),
        postponed_until=None if in_future(saved_at, now) else renewal_state.postponed_until,
    )


def _believed_attempts(
    attempts: Attempts, version: Version | None, now: datetime
) -> Attempts | None:
    failed_at = attempts.last_error.at if attempts.last_error is not None else None
    if in_future(attempts.last_attempt, now) or in_future(failed_at, now):
        return None
    retry_at = believed(attempts.retry_at, now, _longest_pause(version, now))
    return replace(attempts, retry_at=retry_at)


def _believed_ari(
    ari: AriState, version: Version | None, saved_at: datetime | None, now: datetime
) -> AriState:
    valid = version.not_after - now if version is not None else timedelta(0)
    asked = believed(ari.ask_at, now, max(valid, timedelta(0)))
    if asked is None or in_future(saved_at, now):
        return replace(ari, ask_at=None, unanswered=0)
    return ari


def believed_deployment(deployment: Deployment, now: datetime) -> Deployment:
    """Return the deployment state without what does not count."""
    state = replace(
        deployment,
        deployed_at=believed(deployment.deployed_at, now),
        verified_at=believed(deployment.verified_at, now),
        retry_at=believed(deployment.retry_at, now, BACKOFF[-1]),
    )
    if state.last_error is not None and in_future(state.last_error.at, now):
        return replace(state, failures=0, last_error=None, retry_at=None)
    return state


def believed_history(history: RunHistory, now: datetime) -> RunHistory:
    """Return the run history without what does not count; `latest_in_future` is the latest run that
    was left out, and `exit_status` is None if it belongs to that run.
    """
    runs = tuple(each for each in history.runs if not in_future(each, now))
    left_out = [each for each in history.runs if in_future(each, now)]
    last_alert = history.last_alert
    return replace(
        history,
        runs=runs,
        exit_status=None if left_out else history.exit_status,
        succeeded_at=believed(history.succeeded_at, now),
        last_alert=None if last_alert and in_future(last_alert.at, now) else last_alert,
        printed=tuple(each for each in history.printed if not in_future(each.at, now)),
        latest_in_future=max(left_out, default=None),
    )


def believed_entries(entries: Iterable[LedgerEntry], now: datetime) -> list[LedgerEntry]:
    """Return the entries of a ledger that count."""
    return [each for each in entries if not in_future(each.at, now)]


def only_results_of_renewal(before: RenewalState, after: RenewalState) -> bool:
    """Return whether a renewal state differs from the one before only in what can be lost: how
    attempts ended and what the CA suggested is seen or asked again. Revocations, those that were
    requested, compromised keys and the pause after a rollback are not.
    """
    return after == replace(
        before,
        attempts=after.attempts,
        ari=after.ari,
        renewed_by_ari=after.renewed_by_ari,
        requested=after.requested,
    )


def only_results_of_deployment(before: Deployment, after: Deployment) -> bool:
    """Return whether a deployment differs from the one before only in what can be lost: without
    its result, the wanted version is deployed again. Which version is wanted or waits for its
    window, and that a deployment is pending, is not.
    """
    same = (after.wanted, after.waiting) == (before.wanted, before.waiting)
    return same and after.deployed in {before.deployed, after.wanted}


def _longest_pause(version: Version | None, now: datetime) -> timedelta:
    """Return how far away the next attempt can be: while a version is valid, before it expires."""
    if version is None or version.not_after <= now:
        return LONGEST_PAUSE
    return min(LONGEST_PAUSE, version.not_after - now)


def _believed_pause(
    paused_until: datetime | None, version: Version | None, now: datetime
) -> datetime | None:
    """Return the end of the pause after a rollback; it depends only on the version."""
    if version is None:
        return None
    return believed(paused_until, now, latest_renewal(version) - now)
