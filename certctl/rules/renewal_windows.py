"""What the windows of a specification mean for a certificate: when it may be deployed, when `renew`
has something to do, and whether a window is too rare or too short.

Pure functions of the models and a time. `certctl.rules.renewal` has the rule for orders.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from certctl.model.certificate import RenewalState, Version
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import CertificateSpec
from certctl.model.status import CertificateStatus
from certctl.rules.ari import next_request_time, renewal_info_for
from certctl.rules.renewal import (
    decide,
    is_ahead,
    is_near_expiry,
    latest_renewal,
    renewal_time,
)


@dataclass(frozen=True)
class TooRare:
    """The window of a setting that is closed for so long (`gap`) that it could open too late; at
    `most` would do.
    """

    setting: str
    gap: timedelta
    most: timedelta


def deployment_opens(
    spec: CertificateSpec, status: CertificateStatus, now: datetime
) -> datetime | None:
    """Return when a new version may be deployed; None if it may be now.

    That is in the deploy window, and at any time once what is served must not be served much
    longer: a sixth of its lifetime is left, it is revoked or withdrawn, or its files are damaged.
    """
    served, state = status.served or status.live, status.renewal_state
    if not spec.deploy_window or served is None or status.live is None:
        return None
    suggested = (renewal_info_for(each, state) for each in served.parts)
    if (
        is_near_expiry(served, now)
        or served.number in {*state.revoked, *(each.version for each in state.revocations)}
        or served.keys_sha256.intersection(state.compromised_keys)
        or status.damage is not None
        or is_ahead(served, now)
        or any(each.withdrawn for each in suggested if each is not None)
    ):
        return None
    opens = _opening(spec.deploy_window, now)
    return None if opens <= now else min(opens, latest_renewal(served))


def window_is_closed(texts: tuple[str, ...], now: datetime) -> bool:
    """Return whether there are windows, of which none is open."""
    return bool(texts) and _opening(texts, now) > now


def window_too_rare(spec: CertificateSpec, version: Version, now: datetime) -> TooRare | None:
    """Return the window that is closed for so long that it could open too late for a version: for
    more than half of the time that is left when the version becomes due.
    """
    from certctl.rules.windows import windows  # noqa: PLC0415 - few certificates have any

    most = (version.not_after - renewal_time(version)) / 2
    for key, texts in (("order_window", spec.order_window), ("deploy_window", spec.deploy_window)):
        gap = windows(texts).longest_gap(now) if texts else timedelta(0)
        if gap > most:
            return TooRare(key, gap, most)
    return None


def next_action(spec: CertificateSpec, status: CertificateStatus, now: datetime) -> datetime | None:
    """Return the time before which `renew` has nothing to do for a certificate; None for never.

    A failure in backoff counts as something to do: it affects the exit status of every run until it
    is resolved.
    """
    state = status.renewal_state
    if status.undeployed or state.failures or state.revocations:
        return now
    decision, live = decide(spec, status, now), status.current
    if live is None or not spec.autorenew:
        return decision.at
    moments = [decision.opens or decision.at, next_request_time(live, status.renewal_state, now)]
    if status.waiting is not None:
        moments.append(deployment_opens(spec, status, now) or now)
    suggested = (renewal_info_for(each, status.renewal_state) for each in live.parts)
    # In an open window the decision depends on the run interval, so every run decides.
    moments += [max(each.start, now) for each in suggested if each and decision.at == each.chosen]
    return min((each for each in moments if each is not None), default=None)


def interval_too_long(
    version: Version, renewal_state: RenewalState, interval: timedelta
) -> tuple[timedelta, str] | None:
    """If runs come at longer intervals than the time for renewing a version, return that time and
    its name.
    """
    windows = [renewal_info_for(each, renewal_state) for each in version.parts]
    shortest = min((each.end - each.start for each in windows if each is not None), default=None)
    if shortest is not None and interval > shortest:
        return shortest, "the renewal window suggested by its CA"
    left = latest_renewal(version) - renewal_time(version)
    return (left, "the time for renewal") if interval > left else None


def runs_too_rare(
    spec: CertificateSpec,
    version: Version,
    renewal_state: RenewalState,
    interval: timedelta,
    now: datetime,
) -> tuple[timedelta, str] | None:
    """If runs come at longer intervals than a window of the spec is open, or than the time for
    renewing a version, return that time and its name.
    """
    for which, texts in (("order", spec.order_window), ("deploy", spec.deploy_window)):
        if texts and interval > (shortest := _shortest(texts, now)):
            return shortest, f"the {which} window"
    return interval_too_long(version, renewal_state, interval)


def too_rare_text(found: TooRare) -> str:
    """Return what is wrong with a window, as a phrase."""
    which = found.setting.replace("_", " ")
    return (
        f"its {which} is closed for up to {_days(found.gap)}, but for this lifetime it has to open"
        f" at least every {_days(found.most)}"
    )


def _days(duration: timedelta) -> str:
    hours = duration.total_seconds() / 3600
    return f"{hours:.0f} hours" if hours < 96 else f"{hours / 24:.1f} days"


def _shortest(texts: tuple[str, ...], now: datetime) -> timedelta:
    from certctl.rules.windows import windows  # noqa: PLC0415 - few certificates have any

    return windows(texts).shortest(now)


def _opening(texts: tuple[str, ...], now: datetime) -> datetime:
    from certctl.rules.windows import windows  # noqa: PLC0415 - few certificates have any

    return windows(texts).next_opening(now)
