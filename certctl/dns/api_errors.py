"""Translates errors of DNS provider APIs to certctl's errors: the error code, whether a retry may
succeed, and a message without secrets.

Relies only on what the exceptions and responses of different libraries have in common.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from typing import Any, Self

from certctl.model.errors import ChallengeError, Interrupted
from certctl.model.ports import Clock
from certctl.model.text import printable

PAUSES = (2.0, 5.0, 15.0)
"""Seconds between the attempts, unless the API sends a Retry-After."""

LONGEST_PAUSE = 60.0
"""The longest Retry-After, in seconds, that is waited for; otherwise the next run tries again."""

_MAX_CHARACTERS = 300
# Some APIs take their key as part of the URL.
_QUERY = re.compile(r"(https?://[^\s?'\"<>)]*)\?[^\s'\"<>)]*")
_USER = re.compile(r"(https?://)[^/\s@'\"]+@")
_CONNECTION = re.compile(r"\A(?:<.*?>|\w+\(.*?\)): ")
"""The connection object at the start of a message of urllib3."""

_RATE_LIMITED = "challenge.dns.rate_limited"
_UNAVAILABLE = "challenge.dns.unavailable"
_CREDENTIALS = "challenge.dns.credentials"
_REJECTED = "challenge.dns.provider"


class ProviderError(ChallengeError):
    """A provider did not make a change.

    `retryable`: a later attempt may succeed; `retry_after`: after so many seconds, if the API
    stated a time.
    """

    def __init__(
        self,
        provider: str,
        subject: str,
        reason: str,
        secrets: Iterable[str] = (),
        *,
        code: str = _UNAVAILABLE,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(
            f"the DNS provider {provider} could not change {subject}: {redacted(reason, secrets)}",
            hint=_hint(code, provider),
            code=code,
        )
        self.retryable = code in (_RATE_LIMITED, _UNAVAILABLE)
        self.retry_after = retry_after
        # Wrong credentials and too many requests are answered before anything is changed.
        self.nothing_placed = code in (_CREDENTIALS, _RATE_LIMITED)

    @classmethod
    def from_exception(
        cls, error: Exception, provider: str, subject: str, secrets: Iterable[str]
    ) -> Self:
        """Return the error for an exception of a provider's library."""
        response: Any = getattr(error, "response", None)
        status = getattr(response, "status_code", None)
        if isinstance(status, int):
            return cls.from_status(
                status,
                str(getattr(response, "reason", "") or ""),
                str(getattr(response, "text", "") or ""),
                provider,
                subject,
                secrets,
                retry_after=getattr(response, "headers", {}).get("Retry-After"),
            )
        name = type(error).__name__
        if name == "AuthenticationError":
            code = _CREDENTIALS
        else:
            # Network errors are OSErrors in requests and most other libraries.
            code = _UNAVAILABLE if isinstance(error, OSError) else _REJECTED
        text = _text_of(error)
        return cls(provider, subject, f"{name}: {text}" if text else name, secrets, code=code)

    @classmethod
    def from_status(
        cls,
        status: int,
        reason: str,
        body: str,
        provider: str,
        subject: str,
        secrets: Iterable[str],
        *,
        retry_after: object = None,
    ) -> Self:
        """Return the error for an HTTP response with this status."""
        if status == 429:
            code = _RATE_LIMITED
        elif status in (401, 403):
            code = _CREDENTIALS
        else:
            code = _UNAVAILABLE if status >= 500 else _REJECTED
        text = f"it returned {status} {reason}".rstrip()
        text += f": {body}" if body.strip() else ""
        wait = _seconds(retry_after)
        return cls(provider, subject, text, secrets, code=code, retry_after=wait)


def with_retries(attempt: Callable[[], None], *, clock: Clock, stop: threading.Event) -> None:
    """Call `attempt`, and retry after errors that may be temporary. Raises the last
    `ProviderError`, and `Interrupted`.
    """
    for pause in PAUSES:
        try:
            return attempt()
        except ProviderError as error:
            wait = error.retry_after if error.retry_after is not None else pause
            if not error.retryable or wait > LONGEST_PAUSE:
                raise
        if clock.wait(stop, wait):
            raise Interrupted("stopped while waiting for the DNS provider")
    return attempt()


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Return `text` as one printable line of limited length, without secrets and URL queries."""
    for secret in secrets:
        text = text.replace(secret, "***")
    text = _USER.sub(r"\1***@", _QUERY.sub(r"\1?***", text))
    return printable(text, _MAX_CHARACTERS)


def _hint(code: str, provider: str) -> str:
    if code == _CREDENTIALS:
        return f"Check the credentials and their permissions: certctl dns show {provider}"
    if code == _RATE_LIMITED:
        return "Wait and run the same command again; --jobs 1 orders one certificate at a time."
    if code == _UNAVAILABLE:
        return (
            "Check that this machine can reach the provider, and run the same command again later."
        )
    return f"List its options with certctl dns show {provider}; test them with certctl dns test."


def _text_of(error: Exception) -> str:
    """Return the message of an exception; of a failed connection in `requests`, only its reason."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return _CONNECTION.sub("", str(reason)) if isinstance(reason, Exception) else str(error)


def _seconds(text: object) -> float | None:
    """Return the seconds of a Retry-After; None for a date, which such APIs do not send."""
    value = str(text or "").strip()
    return float(value) if value.isascii() and value.isdigit() else None
