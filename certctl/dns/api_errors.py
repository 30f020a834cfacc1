"""What the API of a DNS provider refuses, as our errors: which kind it is, whether later may do,
and no secret in its words.

Goes by what exceptions and answers have in common, since every library has its own.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from typing import Any, Self

from certctl.errors import ChallengeError, Interrupted
from certctl.ports import Clock

PAUSES = (2.0, 5.0, 15.0)
"""Seconds between attempts where later may do, and the API names no time."""

LONGEST_PAUSE = 60.0
"""A longer Retry-After is not waited for: the certificate is tried again by the next run."""

_SHOWN_CHARACTERS = 300
# Many an API takes its key as part of the address.
_QUERY = re.compile(r"(https?://[^\s?'\"<>)]*)\?[^\s'\"<>)]*")
_USER = re.compile(r"(https?://)[^/\s@'\"]+@")

_RATE_LIMITED = "challenge.dns.rate_limited"
_UNAVAILABLE = "challenge.dns.unavailable"
_CREDENTIALS = "challenge.dns.credentials"
_REFUSED = "challenge.dns.provider"


class ProviderError(ChallengeError):
    """A provider did not do what it was asked to.

    `later`: it may, if it is asked again; `retry_after` is in seconds, where the API names a time.
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
        self.later = code in (_RATE_LIMITED, _UNAVAILABLE)
        self.retry_after = retry_after

    @classmethod
    def of(cls, error: Exception, provider: str, subject: str, secrets: Iterable[str]) -> Self:
        """Return what an exception of a provider's library means."""
        response: Any = getattr(error, "response", None)
        status = getattr(response, "status_code", None)
        if isinstance(status, int):
            return cls.of_status(
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
            # Of requests, and of most others, whatever the network does is an OSError.
            code = _UNAVAILABLE if isinstance(error, OSError) else _REFUSED
        said = str(error)
        return cls(provider, subject, f"{name}: {said}" if said else name, secrets, code=code)

    @classmethod
    def of_status(
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
        """Return what an HTTP status means, with what came with it."""
        if status == 429:
            code = _RATE_LIMITED
        elif status in (401, 403):
            code = _CREDENTIALS
        else:
            code = _UNAVAILABLE if status >= 500 else _REFUSED
        said = f"it answered {status} {reason}".rstrip()
        said += f": {body}" if body.strip() else ""
        wait = _seconds(retry_after)
        return cls(provider, subject, said, secrets, code=code, retry_after=wait)


def with_retries(attempt: Callable[[], None], *, clock: Clock, stop: threading.Event) -> None:
    """Make an attempt, and again where it is refused for now. Raises the last `ProviderError`, and
    `Interrupted`.
    """
    for pause in PAUSES:
        try:
            return attempt()
        except ProviderError as refusal:
            wait = refusal.retry_after if refusal.retry_after is not None else pause
            if not refusal.later or wait > LONGEST_PAUSE:
                raise
        if clock.wait(stop, wait):
            raise Interrupted("stopped while waiting for the DNS provider")
    return attempt()


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Return a text as one printable line of bounded length, without secrets and without what
    stands after the question mark of an address.
    """
    for secret in secrets:
        text = text.replace(secret, "***")
    text = _USER.sub(r"\1***@", _QUERY.sub(r"\1?***", text))
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]} ..."


def _hint(code: str, provider: str) -> str:
    if code == _CREDENTIALS:
        return f"Check the credentials, and what they may change: certctl dns show {provider}"
    if code == _RATE_LIMITED:
        return "Wait, and run the same command again; fewer certificates at once: --jobs 1"
    if code == _UNAVAILABLE:
        return "Run the same command again later."
    return f"certctl dns show {provider} has its options; certctl dns test tries them out."


def _seconds(text: object) -> float | None:
    """Return the seconds of a Retry-After; a date, which such APIs do not send, counts for none."""
    value = str(text or "").strip()
    return float(value) if value.isascii() and value.isdigit() else None
