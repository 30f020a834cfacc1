"""When a failed request to a CA is repeated: what may succeed, what is safe, and the delays."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from certctl.ca.connection_errors import NEVER_SENT
from certctl.model.errors import AcmeError, CaUnavailable, RateLimited

BAD_NONCE_RETRIES = 5
"""How often a request is retried immediately after a badNonce error, before backing off."""

BACKOFF = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each retry of a failed request, unless the CA asks for a longer delay."""

BUSY_BACKOFF = (*BACKOFF, 4.0, 4.0, 4.0)
"""The same if the CA is busy (503): it refuses at random, so that more attempts help."""

SHORT_LIMIT = 15.0
"""The longest Retry-After of a CA's rate limit that is waited for, in seconds; after a longer one,
the next attempt is left to a later run.
"""

RETRY_SECONDS = 120.0
"""Seconds that one request may spend on retries. A longer `Retry-After` is left to the caller: a
delay of hours is for the next run.
"""


def delays(error: AcmeError) -> Sequence[float]:
    """Return the seconds before each retry after such a failure."""
    return BUSY_BACKOFF if error.status == HTTPStatus.SERVICE_UNAVAILABLE else BACKOFF


def is_transient(error: AcmeError, *, resend: bool) -> bool:
    """Return whether the same request may succeed shortly afterwards, and is safe to repeat."""
    if error.type == "badNonce":
        return True
    if isinstance(error, RateLimited):
        # Without a type it comes from a proxy, whose limits last seconds. The CA's own last hours,
        # except those that refill steadily, and its Retry-After tells them apart.
        return error.type is None or 0 < (error.retry_after or 0) <= SHORT_LIMIT
    if not isinstance(error, CaUnavailable) or error.status == 501:
        return False
    # A server that is too busy (503) has not acted on the request.
    return resend or error.code == NEVER_SENT or error.status == HTTPStatus.SERVICE_UNAVAILABLE
