"""A circuit breaker: after repeated refusals, stop requesting certificates from a CA in this run.

Ten thousand requests after the first refusal are pointless, and may prolong a rate limit.
"""

from __future__ import annotations

from threading import Lock

from certctl.model.errors import (
    AccountError,
    AccountPaused,
    CaUnavailable,
    CertctlError,
    RateLimited,
)
from certctl.model.lazy_dataclass import dataclass

_THRESHOLD = 3
"""Consecutive refusals of one kind after which no more requests are sent to a CA."""


@dataclass(frozen=True)
class _Streak:
    error: CertctlError
    length: int


class CircuitBreaker:
    """Counts refusals that do not depend on the names requested: outages, rate limits, and errors
    of the account. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._streaks: dict[str, _Streak] = {}

    def error_if_open(self, ca: str) -> CertctlError | None:
        """Return the error for a certificate that must not be requested from the CA now; None if it
        may be requested.
        """
        with self._lock:
            streak = self._streaks.get(ca)
        if streak is None or streak.length < _THRESHOLD:
            return None
        message = f"not tried, because others failed with the same error: {streak.error.message}"
        error = streak.error
        if isinstance(error, CaUnavailable | RateLimited | AccountError):
            return type(error)(message, retry_after=error.retry_after, hint=error.hint)
        return CertctlError(message, hint=error.hint, code=error.code)

    def record(self, ca: str, error: CertctlError | None) -> None:
        """Record the result of a request to a CA; None if it succeeded."""
        with self._lock:
            if not isinstance(error, CaUnavailable | RateLimited | AccountError) or isinstance(
                error, AccountPaused
            ):
                # Such an error concerns only these names, as does a pause of some names.
                self._streaks.pop(ca, None)
                return
            before = self._streaks.get(ca)
            same = before is not None and type(before.error) is type(error)
            previous = before.length if before is not None and same else 0
            length = _THRESHOLD if isinstance(error, AccountError) else previous + 1
            self._streaks[ca] = _Streak(error, length)
