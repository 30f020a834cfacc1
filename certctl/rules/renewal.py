"""When a certificate is due and why, and when to retry after a failure.

Pure functions of the models and a time: no files, no network, no cryptography.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from certctl.model.ca import RevocationReason
from certctl.model.certificate import (
    Attempts,
    CertificateFacts,
    FinishedOrder,
    LastError,
    RenewalDecision,
    RenewalState,
    Request,
    RevocationIntent,
    Version,
)
from certctl.model.delivery import Deployment
from certctl.model.errors import AcmeError, CertctlError
from certctl.model.identifiers import Identifier
from certctl.model.spec import CertificateSpec
from certctl.model.status import CertificateStatus
from certctl.rules.ari import renewal_info_for
from certctl.rules.remembered_times import EARLIEST, in_future

BACKOFF = (timedelta(minutes=1), timedelta(minutes=10), timedelta(minutes=100), timedelta(days=1))
"""The backoff that Let's Encrypt recommends after consecutive failures; the last one repeats."""

LONGEST_PAUSE = timedelta(days=7)
"""The longest time between attempts, whatever the CA's Retry-After: the longest window of a known
rate limit.
"""

SHORTEST_PAUSE = timedelta(seconds=5)
"""The minimum time between attempts for a certificate that is about to expire, unless its whole
lifetime is only seconds.
"""

LONGEST_INTERVAL = timedelta(days=1)
"""A longer interval between runs of `renew` does not make a certificate due any earlier."""

POSTPONED = "the rate limits of its CA leave room for it then"

STOPPED = "renewal is turned off (autorenew = false)"

SHORT_LIVED = timedelta(days=10)
"""A certificate with a shorter lifetime is renewed when half of it is left, not a third."""


def parts_of(spec: CertificateSpec) -> tuple[CertificateSpec, ...]:
    """Return the spec as if it had one of its key types alone, for each of them: each is an order
    of its own.
    """
    if spec.second_key_type is None:
        return (spec,)
    return tuple(replace(spec, key_type=each, second_key_type=None) for each in spec.key_types)


def predecessor(live: Version | None, part: CertificateSpec, *, alone: bool) -> Version | None:
    """Return which part of the live version an order replaces: the one with the same kind of key.

    `part` is the spec of the order. If it is the certificate's only one (`alone`), a certificate
    with another kind of key is replaced, too.
    """
    parts = () if live is None else live.parts
    others = parts if alone else ()
    if part.csr is not None:
        return next(iter(parts), None)
    same = [each for each in parts if each.first.family == part.key_type.family]
    return next(iter((*same, *others)), None)


def request_of(spec: CertificateSpec) -> Request:
    """Return what the spec requests from the CA, with its first key type; it is stored with the
    resulting version.
    """
    return Request(
        identifiers=spec.identifiers,
        key_type=None if spec.csr else spec.key_type,
        ca=spec.ca,
        profile=spec.required_profile or spec.profile,
        csr_sha256=spec.csr,
        profile_required=spec.required_profile is not None,
        common_name=None if spec.csr else spec.common_name,
    )


def differences(spec: CertificateSpec, request: Request) -> tuple[str, ...]:
    """Return the differences between a spec with one key type and the request of a certificate, as
    one phrase each.
    """
    wanted = request_of(spec)
    if wanted.csr_sha256 == request.csr_sha256 and wanted.key_type != request.key_type:
        key = (f"key {wanted.key_type} instead of {request.key_type}",)
        return (*key, *_other_differences(wanted, request, spec.cas))
    return _other_differences(wanted, request, spec.cas)


def differences_from(spec: CertificateSpec, version: Version) -> tuple[str, ...]:
    """Return the differences between the spec and what was requested for a version, as one phrase
    each.
    """
    requests = tuple(each.request for each in version.certificates)
    if spec.second_key_type is None and len(requests) == 1:
        return differences(spec, version.request)
    wanted = tuple(request_of(each) for each in parts_of(spec))
    found: list[str] = []
    if [each.key_type for each in wanted] != [each.key_type for each in requests]:
        found.append(f"key {_keys(wanted)} instead of {_keys(requests)}")
    for each in requests:
        found += _other_differences(wanted[0], each, spec.cas)
    return tuple(dict.fromkeys(found))


def _keys(requests: Sequence[Request]) -> str:
    return " and ".join(each.key_type or "of a signing request" for each in requests)


def _other_differences(wanted: Request, request: Request, cas: Sequence[str]) -> tuple[str, ...]:
    """Return the differences between two requests apart from the key type; any of `cas` will do."""
    found: list[str] = []
    added = _names(set(wanted.identifiers) - set(request.identifiers))
    removed = _names(set(request.identifiers) - set(wanted.identifiers))
    if added:
        found.append(f"adds {added}")
    if removed:
        found.append(f"removes {removed}")
    if wanted.csr_sha256 != request.csr_sha256:
        found.append(
            "another certificate signing request"
            if wanted.csr_sha256
            else "a private key managed by certctl instead of a signing request"
        )
    if wanted.profile != request.profile:
        found.append(
            f"profile {wanted.profile or 'default'} instead of {request.profile or 'default'}"
        )
    elif wanted.profile_required and not request.profile_required:
        found.append(f"profile {wanted.profile} is now required")
    if wanted.common_name != request.common_name:
        found.append(
            f"common name {wanted.common_name or 'none'} instead of {request.common_name or 'none'}"
        )
    if request.ca not in cas:
        found.append(f"CA {wanted.ca} instead of {request.ca}")
    return tuple(found)


def decide(
    spec: CertificateSpec,
    status: CertificateStatus,
    now: datetime,
    interval: timedelta = timedelta(0),
    *,
    in_windows: bool = True,
) -> RenewalDecision:
    """Return whether the certificate is due at `now`, or when it will be, and by which rule.

    `interval` is the time until the next run, zero if unknown. The rules, in order: no certificate,
    expired, revoked, damaged files, issued while the clock was ahead, requested by hand without
    success yet, paused after a rollback, spec and request differ, withdrawn by the CA, the window
    suggested by the CA (ARI, RFC 9773), then the fallback schedule: a third of the lifetime is
    left, or half of a lifetime below ten days. What is postponed waits where there is no
    certificate, and where spec and request differ, unless the live one is near its expiry.

    Changes, ARI and the schedule keep to the windows of the spec until a sixth of the lifetime is
    left, unless `in_windows` is False; what keeps clients from being served does not.
    """
    # A version whose deployment is pending counts as the current one.
    live, renewal_state = status.current, status.renewal_state
    if not spec.autorenew:
        return RenewalDecision(False, None, "stopped", STOPPED)
    postponed = _postponed(renewal_state, now)
    if live is None:
        missing = RenewalDecision(True, now, "missing", "there is no certificate yet")
        return postponed or missing
    unusable = _unusable(live, status, now)
    if unusable is not None:
        return RenewalDecision(True, now, *unusable)
    if renewal_state.requested is not None:
        return RenewalDecision(True, now, "requested", "its renewal was requested by hand")
    if renewal_state.paused_until is not None and renewal_state.paused_until > now:
        return RenewalDecision(
            False, renewal_state.paused_until, "paused", "the pause after a rollback is over"
        )
    changed = differences_from(spec, live)
    if changed and postponed and not is_near_expiry(live, now):
        return postponed
    if changed:
        why = "its specification has changed: " + "; ".join(changed)
        decision = RenewalDecision(True, now, "changed", why)
    else:
        # Windows leave room for the next run by themselves.
        between = timedelta(0) if in_windows and spec.has_windows else interval
        decisions = [
            _by_ari(each, renewal_state, now, between) or _by_schedule(each, now)
            for each in live.parts
        ]
        decision = min(decisions, key=lambda each: (not each.due, each.at or now))
    if not (in_windows and spec.has_windows) or decision.reason == "withdrawn":
        return decision
    from certctl.rules.order_windows import within_windows  # noqa: PLC0415 - few have any

    return within_windows(decision, spec, live, latest_renewal(live), now)


def _postponed(state: RenewalState, now: datetime) -> RenewalDecision | None:
    """Return the decision to wait for room in the CA's rate limits; None if nothing waits."""
    until = state.postponed_until
    if until is None or until <= now:
        return None
    return RenewalDecision(False, until, "postponed", POSTPONED)


def urgency(status: CertificateStatus, now: datetime) -> tuple[int, datetime]:
    """Return a key by which the most urgent certificate sorts first: those near their expiry, then
    those of which nothing is served yet, then the others, each in the order of their expiry.
    """
    live = status.live
    if live is None:
        return 1, datetime.min.replace(tzinfo=UTC)
    return (0 if is_near_expiry(live, now) else 2), live.not_after


def is_ahead(version: Version, now: datetime) -> bool:
    """Return whether a version was issued while the clocks here and at its CA were ahead: it is not
    valid yet, and a new one would be.

    If the clock here is behind now, or was when the version was issued, a new one is no better.
    """
    starts = (each.facts.not_before for each in version.certificates)
    ahead = any(in_future(each, now) for each in starts) and in_future(version.issued, now)
    return ahead and now >= EARLIEST


def renewal_time(version: Version) -> datetime:
    """Return when a version becomes due by the fallback schedule."""
    return min(_renewal_time(each.facts) for each in version.certificates)


def _renewal_time(facts: CertificateFacts) -> datetime:
    lifetime = facts.lifetime
    left = lifetime / 2 if lifetime < SHORT_LIVED else lifetime / 3
    return facts.not_after - left


def may_wait(finished: FinishedOrder, now: datetime) -> bool:
    """Return whether what was issued for one key type can still become a part of a version: until
    it would be renewed itself.
    """
    return now < _renewal_time(finished.facts)


def latest_renewal(version: Version) -> datetime:
    """Return when a version is renewed at the latest, regardless of ARI or a pause: when a sixth of
    its lifetime is left.
    """
    every = (each.facts for each in version.certificates)
    return min(facts.not_after - facts.lifetime / 6 for facts in every)


def is_near_expiry(live: Version | None, now: datetime) -> bool:
    """Return whether a live version is due without any delay: a check that would keep certctl from
    asking the CA does more harm than a refusal of the CA.
    """
    return live is not None and now >= latest_renewal(live)


def attempts(renewal_state: RenewalState, ca: str | None) -> Attempts:
    """Return the attempts at a CA. Those of which the CA was not recorded count for every CA."""
    known = {each.ca: each for each in renewal_state.attempts}
    return known.get(ca) or replace(known.get(None, Attempts(ca)), ca=ca)


def with_attempts(renewal_state: RenewalState, changed: Attempts) -> RenewalState:
    """Return the renewal state with these attempts at their CA."""
    others = (each for each in renewal_state.attempts if each.ca not in {changed.ca, None})
    return replace(renewal_state, attempts=(*others, changed))


def in_backoff(state: Attempts | RenewalState | Deployment, now: datetime) -> bool:
    """Return whether the backoff after an earlier failure has not ended yet."""
    return state.retry_at is not None and state.retry_at > now


def backoff(
    failures: int,
    now: datetime,
    *,
    retry_after: float | None,
    facts: CertificateFacts | None,
) -> datetime:
    """Return when to retry after `failures` consecutive failures (1 for the first).

    `facts` are those of the certificate to be renewed, None if there is none. The delay is at most
    a tenth of its lifetime, even once it has expired, unless the CA's Retry-After (seconds) is
    longer. While it is valid, the delay is also at most half of the time left, so that there are
    further attempts before it expires.
    """
    delay = BACKOFF[min(max(failures, 1), len(BACKOFF)) - 1]
    if facts is not None:
        delay = min(delay, facts.lifetime / 10)
    if retry_after is not None:
        delay = max(delay, min(timedelta(seconds=retry_after), LONGEST_PAUSE))
    if facts is not None and facts.not_after > now:
        delay = min(delay, max((facts.not_after - now) / 2, SHORTEST_PAUSE))
    return now + delay


def after_failure(
    renewal_state: RenewalState,
    ca: str | None,
    error: CertctlError,
    now: datetime,
    facts: CertificateFacts | None,
) -> RenewalState:
    """Return the renewal state after an attempt at `now` to renew the certificate with these
    `facts` at a CA ended with `error`.
    """
    failures = attempts(renewal_state, ca).failures + 1
    retry_after = error.retry_after if isinstance(error, AcmeError) else None
    retry_at = backoff(failures, now, retry_after=retry_after, facts=facts)
    return with_attempts(
        renewal_state, Attempts(ca, failures, now, last_error(error, now), retry_at)
    )


def after_postponement(
    renewal_state: RenewalState,
    ca: str | None,
    error: CertctlError,
    now: datetime,
    facts: CertificateFacts | None,
) -> RenewalState:
    """Return the renewal state after an attempt was postponed at `now`, since others had ended with
    `error`: it counts as a failure, but does not lengthen the backoff.
    """
    before = attempts(renewal_state, ca)
    shorter = with_attempts(renewal_state, replace(before, failures=max(before.failures - 1, 0)))
    return after_failure(shorter, ca, error, now, facts)


def after_success(
    renewal_state: RenewalState,
    ca: str,
    now: datetime,
    *,
    by_ari: bool = False,
    skipped: Collection[str] = (),
) -> RenewalState:
    """Return the renewal state after a version of a CA was saved at `now`: without failures, pauses
    and windows; revocations are kept.

    `by_ari`: the window suggested by the CA was the only reason for the renewal. Of the CAs that
    were out of service and `skipped`, the last error is kept, to explain what happened.
    """
    out_of_service = (
        replace(each, failures=0, retry_at=None)
        for each in renewal_state.attempts
        if each.ca in skipped and each.failures
    )
    return replace(
        renewal_state,
        attempts=(*out_of_service, Attempts(ca, last_attempt=now)),
        ari=(),
        paused_until=None,
        requested=None,
        postponed_until=None,
        renewed_by_ari=now if by_ari else renewal_state.renewed_by_ari,
    )


def after_revocation(
    state: RenewalState, version: Version | None, intent: RevocationIntent
) -> RenewalState:
    """Return the renewal state after a version was revoked."""
    left = tuple(each for each in state.revocations if each.version != intent.version)
    state = replace(state, revocations=left)
    compromised = intent.reason is RevocationReason.KEY_COMPROMISE
    return state if version is None else with_revoked(state, version, compromised=compromised)


def with_revoked(state: RenewalState, version: Version, *, compromised: bool) -> RenewalState:
    """Return the renewal state with a revoked version, and its keys if they are compromised."""
    own = (each.facts.key_sha256 for each in version.certificates)
    keys = (*state.compromised_keys, *own) if compromised else ()
    return replace(
        state,
        revoked=tuple(dict.fromkeys((*state.revoked, version.number))),
        compromised_keys=tuple(dict.fromkeys(keys or state.compromised_keys)),
    )


def no_longer_due(renewal_state: RenewalState) -> RenewalState:
    """Return the renewal state of a certificate that is no longer due, without earlier failures."""
    kept = (Attempts(each.ca, last_attempt=each.last_attempt) for each in renewal_state.attempts)
    return replace(renewal_state, attempts=tuple(kept))


def with_wanted(deployment: Deployment, number: int) -> Deployment:
    """Return the deployment state with another wanted version, without the old one's results, and
    without a version that waited: it is this one, or the one that replaces it is older by request.
    """
    return replace(
        deployment,
        wanted=number,
        failures=0,
        last_error=None,
        retry_at=None,
        verified_at=None,
        waiting=None,
    )


def deploy_failed(deployment: Deployment, error: CertctlError, now: datetime) -> Deployment:
    """Return the deployment state after a deploy failed at `now`, with the next attempt."""
    failures = deployment.failures + 1
    again = deployment.deployed == deployment.wanted
    return replace(
        deployment,
        deployed=None if again else deployment.deployed,
        failures=failures,
        last_error=last_error(error, now),
        retry_at=backoff(failures, now, retry_after=None, facts=None),
    )


def last_error(error: CertctlError, at: datetime) -> LastError:
    """Return the record of an error for the renewal or deployment state."""
    return LastError(error.code, error.message, at, error.failure.value, error.hint)


def _unusable(live: Version, status: CertificateStatus, now: datetime) -> tuple[str, str] | None:
    """Return the reason, as a word and in words, why a version cannot be served; None if it can."""
    found = None
    if live.not_after <= now:
        found = "expired", "it has expired"
    elif live.number in status.renewal_state.revoked:
        found = "revoked", "it has been revoked"
    elif status.damage is not None and live is status.live:
        found = "damaged", f"its files are damaged: {status.damage}"
    elif is_ahead(live, now):
        found = "not_yet_valid", "it is not valid yet: it was issued while the clock was ahead"
    return found


def _by_ari(
    live: Version, renewal_state: RenewalState, now: datetime, interval: timedelta
) -> RenewalDecision | None:
    """Return the decision by the window suggested by the CA (ARI); None if there is none.

    ARI renews at most once per tenth of the lifetime, so that a CA whose windows are always in the
    past does not cause endless orders. A window that the CA moves into the past is different: it
    withdraws the certificate.
    """
    info = renewal_info_for(live, renewal_state)
    if info is None:
        return None
    more = f" ({info.explanation_url})" if info.explanation_url else ""
    if info.withdrawn:
        why = f"its CA asks for immediate renewal{more}"
        return RenewalDecision(True, now, "withdrawn", why)
    at = min(info.chosen, latest_renewal(live))
    if info.start <= now < info.end and info.chosen < now + interval:
        at = min(at, now)
    previous = renewal_state.renewed_by_ari
    if previous is not None:
        at = max(at, min(previous + live.facts.lifetime / 10, renewal_time(live)))
    reason, why = "ari", f"its CA suggests renewal{more}"
    if at == latest_renewal(live):
        reason, why = "lifetime", "a sixth of its lifetime is left"
    return RenewalDecision(at <= now, at, reason, why)


def _by_schedule(live: Version, now: datetime) -> RenewalDecision:
    at = renewal_time(live)
    part = "half" if live.facts.lifetime < SHORT_LIVED else "a third"
    why = f"{part} of its lifetime is left"
    return RenewalDecision(at <= now, at, "lifetime", why)


def _names(identifiers: set[Identifier]) -> str:
    return ", ".join(sorted(each.value for each in identifiers))
