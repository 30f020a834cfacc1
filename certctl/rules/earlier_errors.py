"""The error of an earlier attempt, as it is told while its backoff lasts."""

from __future__ import annotations

from certctl.model.certificate import LastError
from certctl.model.errors import CaUnavailable, CertctlError, DeployFailed, RateLimited


def earlier_error(
    name: str, last: LastError | None, next_attempt: str | None = None, *, deploy: bool = False
) -> CertctlError:
    """Return the error of an earlier attempt whose backoff has not ended: it still counts.
    `next_attempt` is when that is, in words.
    """
    if last is None:
        return CertctlError("an earlier attempt failed", name=name)
    when = f"{last.at:%Y-%m-%d %H:%M} UTC"
    then = f" ({next_attempt})" if next_attempt else ""
    message = f"failed at {when}; waiting before the next attempt{then}: {last.message}"
    limited = last.failure == RateLimited.failure
    hint = last.hint or f"To retry now, run: certctl renew --force {name}"
    if limited:  # what is forced counts towards the limit, too; the old hint's times are past
        hint = "The next run of renew after that time tries again by itself."
    if deploy:
        return DeployFailed(message, hint=last.hint, name=name, code=last.code)
    if last.code == CaUnavailable.code:
        return CaUnavailable(message, hint=hint, name=name)
    if limited:
        return RateLimited(message, hint=hint, name=name, code=last.code)
    return CertctlError(message, hint=hint, name=name, code=last.code)
