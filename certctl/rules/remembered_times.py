"""Whether a time that an earlier run wrote down still counts.

A clock can be wrong for a while: a board without a battery boots in another year, a virtual machine
resumes with its old time, somebody mistypes a date. What was written down meanwhile must neither
hold anything back nor silence anybody once the clock is right again. `believed` is the one rule for
that. The store applies it to everything that it reads (`certctl.rules.remembered_state`), so that
no other module sees a time that does not count.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

TOLERANCE = timedelta(seconds=10)
"""How far the clocks of machines that share a home directory may differ."""

EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)
"""A clock that shows an earlier time is behind: certctl did not exist then."""


def believed(
    at: datetime | None, now: datetime, within: timedelta = timedelta(0)
) -> datetime | None:
    """Return a time that was written down if it counts at `now`, else None.

    Something that has happened is not in the future. The end of a pause is at most the longest
    duration of such a pause (`within`) away.
    """
    return at if at is not None and at - now <= within + TOLERANCE else None


def in_future(at: datetime | None, now: datetime) -> bool:
    """Return whether something is said to have happened at a time that is still to come."""
    return at is not None and believed(at, now) is None
