"""What a `Retry-After` header means in seconds (RFC 9110 §10.2.3).

It may be an integer or a date, and it may be nonsense: a CA's word is bounded before anything
waits for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST = 7 * 86400.0
"""Seconds; the longest window of a rate limit that a CA is known to have."""

_INTEGER = re.compile(r"[+-]?[0-9]+\Z")


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return how long the CA asks to wait, in seconds from 0 to `LONGEST`; None where it does not
    say, or where what it says is neither a number nor a date.

    A date is compared with the answer's own `Date`, so that a local clock that is hours off does
    not matter, and with `now` where there is none.
    """
    text = headers.get("Retry-After", "").strip()
    if _INTEGER.match(text):
        # Beyond ten digits it is clamped anyway, and int() refuses thousands of them.
        seconds = float(text[:11])
    else:
        then = http_date(text)
        if then is None:
            return None
        seconds = (then - (http_date(headers.get("Date", "")) or now)).total_seconds()
    return min(max(seconds, 0.0), LONGEST)


def http_date(text: str) -> datetime | None:
    """Return the moment that an HTTP-date names, in UTC; None where it is none. Other time zones
    than GMT are understood, and a date without one is GMT.
    """
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
