"""Parses a `Retry-After` header into seconds (RFC 9110 §10.2.3).

The value may be an integer, a date or invalid, and is bounded before anything waits for it.
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
    """Return how long the CA asks to wait, in seconds from 0 to `LONGEST`; None if the header is
    missing, or neither a number nor a date.

    A date is compared with the response's own `Date`, so that a wrong local clock does not matter,
    and with `now` if the response has none.
    """
    text = headers.get("Retry-After", "").strip()
    if _INTEGER.match(text):
        # More than ten digits are clamped anyway, and int() rejects thousands of them.
        seconds = float(text[:11])
    else:
        then = http_date(text)
        if then is None:
            return None
        seconds = (then - (http_date(headers.get("Date", "")) or now)).total_seconds()
    return min(max(seconds, 0.0), LONGEST)


def http_date(text: str) -> datetime | None:
    """Return an HTTP-date as a time in UTC; None if it is invalid. Time zones other than GMT are
    accepted; a date without one is taken as GMT.
    """
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
