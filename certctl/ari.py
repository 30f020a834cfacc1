"""A CA's advice when to renew (ARI, RFC 9773): what an answer means, and when to ask again.

Pure rules on the nouns and a time; how the CA is asked belongs to `certctl.ca.renewal_info`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

from certctl.models import RenewalInfo, RenewalState, SuggestedWindow, Version

LASTING = timedelta(hours=6)
"""When a CA is asked again whose answer was wrong in a way that lasts (RFC 9773 §4.3.3)."""

TEMPORARY = (timedelta(minutes=1), timedelta(minutes=10), timedelta(minutes=100), LASTING)
"""When it is asked again after it could not be reached, the first time and so on."""


def time_to_ask(version: Version, renewal_state: RenewalState, now: datetime) -> datetime | None:
    """Return from when the CA may be asked about a version; None where it must not be.

    That is once it has expired, and where it has no CertID (RFC 9773 §4.1, §4.3).
    """
    if version.facts.ari_id is None or version.facts.not_after <= now:
        return None
    return renewal_state.ask_ca_at or now


def renewal_info_for(version: Version, renewal_state: RenewalState) -> RenewalInfo | None:
    """Return what the CA said about this version, None where it said nothing yet."""
    info = renewal_state.renewal_info
    return info if info is not None and info.cert_id == version.facts.ari_id else None


def answered(
    renewal_state: RenewalState,
    version: Version,
    window: SuggestedWindow,
    now: datetime,
    random: Random,
) -> RenewalState:
    """Return the memory with the CA's answer in it.

    The time to renew is chosen once for each certificate and window, uniformly (RFC 9773 §4.2).
    """
    before = renewal_info_for(version, renewal_state)
    if before is not None and (before.start, before.end) == (window.start, window.end):
        info = replace(before, explanation_url=window.explanation_url)
    else:
        info = RenewalInfo(
            cert_id=version.facts.ari_id or "",
            start=window.start,
            end=window.end,
            chosen=window.start + (window.end - window.start) * random.random(),
            explanation_url=window.explanation_url,
            withdrawn=before is not None
            and window.end <= now
            and (before.withdrawn or before.end > now),
        )
    again = now + timedelta(seconds=window.retry_after)
    return replace(renewal_state, renewal_info=info, ask_ca_at=again, unanswered=0)


def unanswered(
    renewal_state: RenewalState, now: datetime, *, permanent: bool, retry_after: float | None
) -> RenewalState:
    """Return the memory after the CA gave no answer; an earlier answer still holds.

    `retry_after`: seconds, where the CA named a time.
    """
    failures = renewal_state.unanswered + 1
    pause = LASTING if permanent else TEMPORARY[min(failures, len(TEMPORARY)) - 1]
    if retry_after is not None:
        pause = max(pause, min(timedelta(seconds=retry_after), timedelta(days=1)))
    return replace(renewal_state, ask_ca_at=now + pause, unanswered=failures)


def not_offered(renewal_state: RenewalState, version: Version) -> RenewalState:
    """Return the memory after the CA turned out to have no renewal information: it is not asked
    again about this version.
    """
    return replace(
        renewal_state, renewal_info=None, ask_ca_at=version.facts.not_after, unanswered=0
    )
