"""ACME renewal information (ARI, RFC 9773): what an answer means, and when to request it again.

Pure functions of the models and a time; `certctl.ca.renewal_info` requests it from the CA.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

from certctl.model.ca import SuggestedWindow
from certctl.model.certificate import AriState, RenewalInfo, RenewalState, Version

PERMANENT = timedelta(hours=6)
"""The retry interval after an answer that is permanently unusable (RFC 9773 §4.3.3)."""

TEMPORARY = (timedelta(minutes=1), timedelta(minutes=10), timedelta(minutes=100), PERMANENT)
"""The retry intervals while the CA cannot be reached; the last one repeats."""


def next_request_time(
    version: Version, renewal_state: RenewalState, now: datetime
) -> datetime | None:
    """Return when the CA may next be asked about a version, that is about one of its certificates;
    None if it must not be asked.

    That is if they have expired or have no CertID (RFC 9773 §4.1, §4.3).
    """
    if version.second is not None:
        times = (next_request_time(each, renewal_state, now) for each in version.parts)
        return min((each for each in times if each is not None), default=None)
    if version.facts.ari_id is None or version.facts.not_after <= now:
        return None
    return ari_state(version, renewal_state).ask_at or now


def ari_state(version: Version, renewal_state: RenewalState) -> AriState:
    """Return the queries about this version. Those of which the CertID was not recorded count for
    the current version, which is the only one that is asked about.
    """
    cert_id = version.facts.ari_id
    known = {each.cert_id: each for each in renewal_state.ari}
    return known.get(cert_id) or replace(known.get(None, AriState(cert_id)), cert_id=cert_id)


def with_ari_state(renewal_state: RenewalState, changed: AriState) -> RenewalState:
    """Return the renewal state with these queries about their certificate."""
    others = (each for each in renewal_state.ari if each.cert_id not in {changed.cert_id, None})
    return replace(renewal_state, ari=(*others, changed))


def renewal_info_for(version: Version, renewal_state: RenewalState) -> RenewalInfo | None:
    """Return the renewal information for this version; None if there is none yet."""
    return ari_state(version, renewal_state).info


def after_answer(
    renewal_state: RenewalState,
    version: Version,
    window: SuggestedWindow,
    now: datetime,
    random: Random,
) -> RenewalState:
    """Return the renewal state with the CA's answer.

    The renewal time is chosen once per certificate and window, uniformly (RFC 9773 §4.2).
    """
    before = renewal_info_for(version, renewal_state)
    if before is not None and (before.start, before.end) == (window.start, window.end):
        info = replace(before, explanation_url=window.explanation_url)
    else:
        info = RenewalInfo(
            start=window.start,
            end=window.end,
            chosen=window.start + (window.end - window.start) * random.random(),
            explanation_url=window.explanation_url,
            withdrawn=before is not None
            and window.end <= now
            and (before.withdrawn or before.end > now),
        )
    again = now + timedelta(seconds=window.retry_after)
    return with_ari_state(renewal_state, AriState(version.facts.ari_id, info, again))


def after_no_answer(
    renewal_state: RenewalState,
    version: Version,
    now: datetime,
    *,
    permanent: bool,
    retry_after: float | None,
) -> RenewalState:
    """Return the renewal state after the CA gave no usable answer; an earlier one remains valid.

    `retry_after` is seconds, None if the CA sent no Retry-After.
    """
    before = ari_state(version, renewal_state)
    failures = before.unanswered + 1
    pause = PERMANENT if permanent else TEMPORARY[min(failures, len(TEMPORARY)) - 1]
    if retry_after is not None:
        pause = max(pause, min(timedelta(seconds=retry_after), timedelta(days=1)))
    changed = replace(before, ask_at=now + pause, unanswered=failures)
    return with_ari_state(renewal_state, changed)


def after_not_offered(renewal_state: RenewalState, version: Version) -> RenewalState:
    """Return the renewal state for a CA without renewal information: it is not asked again about
    this version.
    """
    facts = version.facts
    return with_ari_state(renewal_state, AriState(facts.ari_id, ask_at=facts.not_after))
