"""Thresholds for the remaining lifetime of a certificate: a fraction, or a duration.

Parses `1/3`, `0.2`, `15%` and `7d`. The caller compares.
"""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction

from certctl.model.errors import UsageError
from certctl.model.lazy_dataclass import dataclass
from certctl.rules.settings import duration

_RATIO = re.compile(r"(\d{1,6})/(\d{1,6})\Z")
_DECIMAL = re.compile(r"0?\.\d{1,6}\Z")
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)%\Z")


@dataclass(frozen=True)
class Threshold:
    """A fraction of the lifetime (`part`) or a fixed duration (`time`); one of them is set."""

    part: Fraction | None = None
    time: timedelta | None = None

    def of(self, lifetime: timedelta) -> timedelta:
        """Return the threshold as a duration, for a certificate with this lifetime."""
        if self.time is not None:
            return self.time
        return lifetime * float(self.part or 0)


def parse_threshold(text: str) -> Threshold:
    """Return the threshold for `text`. Raises `UsageError`, also for a fraction above 1."""
    given = text.strip()
    part = _part(given)
    if part is not None and 0 <= part <= 1:
        return Threshold(part=part)
    seconds = duration(given)
    if part is None and seconds is not None and (seconds == 0 or not given[-1].isdigit()):
        return Threshold(time=timedelta(seconds=min(seconds, 1e9)))
    raise UsageError(
        f"{text!r} is neither a fraction of the lifetime nor a duration with a unit",
        hint="Give a fraction such as 1/3, 0.2 or 15%, or a duration such as 12h or 7d.",
        code="usage.threshold",
    )


def _part(text: str) -> Fraction | None:
    if (found := _RATIO.match(text)) is not None:
        return Fraction(int(found[1]), int(found[2])) if int(found[2]) else None
    if (found := _PERCENT.match(text)) is not None:
        return Fraction(found[1]) / 100
    return Fraction(text) if _DECIMAL.match(text) else None
