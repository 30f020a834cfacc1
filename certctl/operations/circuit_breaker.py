"""Whether a CA that has refused is asked for yet another certificate in the same run.

Ten thousand requests after the first refusal help nobody, and make a limit last.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

from certctl.errors import (
    AccountError,
    AccountPaused,
    CaUnavailable,
    CertctlError,
    RateLimited,
)

_ENOUGH = 3
"""Refusals of one kind in a row, after which a CA is left alone."""


@dataclass(frozen=True)
class _Streak:
    error: CertctlError
    length: int


class CircuitBreaker:
    """Counts refusals that hold for whatever is asked: outages, rate limits, the account itself.

    Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._streaks: dict[str, _Streak] = {}

    def error_if_open(self, ca: str) -> CertctlError | None:
        """Return the error of a certificate for which the CA will not be asked; None where it
        may be.
        """
        with self._lock:
            streak = self._streaks.get(ca)
        if streak is None or streak.length < _ENOUGH:
            return None
        message = f"not tried, after the same happened to others: {streak.error.message}"
        error = streak.error
        if isinstance(error, CaUnavailable | RateLimited | AccountError):
            return type(error)(message, retry_after=error.retry_after, hint=error.hint)
        return CertctlError(message, hint=error.hint, code=error.code)

    def record(self, ca: str, error: CertctlError | None) -> None:
        """Remember how an attempt at a CA ended."""
        with self._lock:
            if not isinstance(error, CaUnavailable | RateLimited | AccountError) or isinstance(
                error, AccountPaused
            ):
                # Other names, other reasons; and a pause holds for some names only.
                self._streaks.pop(ca, None)
                return
            before = self._streaks.get(ca)
            same = before is not None and type(before.error) is type(error)
            known = before.length if before is not None and same else 0
            length = _ENOUGH if isinstance(error, AccountError) else known + 1
            self._streaks[ca] = _Streak(error, length)
