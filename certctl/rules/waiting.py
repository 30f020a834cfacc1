"""When something can be tried again, in words."""

from __future__ import annotations

from datetime import datetime, timedelta

from certctl.model.certificate import Attempts, RenewalState
from certctl.model.delivery import Deployment

_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60))


def again(now: datetime, seconds: float | None) -> str | None:
    """Return when a wait of these seconds ends: "at 14:37 UTC, in 2 minutes", with the date if that
    is not today; None for no wait.
    """
    if not seconds or seconds <= 0:
        return None
    then = now + timedelta(seconds=seconds)
    date = "" if then.date() == now.date() else f"{then:%Y-%m-%d} "
    return f"at {date}{then:%H:%M} UTC, in {_rounded_up(seconds)}"


def until(state: Attempts | RenewalState | Deployment, now: datetime) -> str | None:
    """Return when the backoff of a renewal or a deployment ends, as `again` does."""
    return again(now, (state.retry_at - now).total_seconds()) if state.retry_at else None


def _rounded_up(seconds: float) -> str:
    for unit, length in _UNITS:
        if seconds >= 2 * length or seconds == length or unit == "minute":
            count = int(-(-seconds // length))
            return f"{count} {unit}{'' if count == 1 else 's'}"
    raise AssertionError("the last unit takes all")
