"""The exception tree: every failure that certctl reports is one of these.

Each class has a stable `code` (part of the JSON contract), the exit status that it leads to, and
what it means for the next attempt (`failure`). An error is raised where it is understood,
translated once at its edge, and rendered by one handler at the top. This module knows nothing of
terminals or of JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, StrEnum
from typing import ClassVar


class ExitStatus(IntEnum):
    """What a process ends with; where several hold, the first in `PRECEDENCE` wins."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    NOT_DEPLOYED = 4
    LOCKED = 5
    LATER = 6
    INTERRUPTED = 130


class PluginStatus(IntEnum):
    """What `check` ends with, as the Monitoring Plugins Guidelines have it; no `ExitStatus`."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


PRECEDENCE: tuple[ExitStatus, ...] = (
    ExitStatus.INTERRUPTED,
    ExitStatus.USAGE,
    ExitStatus.PARTIAL,
    ExitStatus.FAILED,
    ExitStatus.LATER,
    ExitStatus.NOT_DEPLOYED,
    ExitStatus.LOCKED,
    ExitStatus.DONE,
)


def worst(statuses: Sequence[ExitStatus]) -> ExitStatus:
    """Return the status that takes precedence among `statuses`; `DONE` for none."""
    return min(statuses, key=PRECEDENCE.index, default=ExitStatus.DONE)


class Failure(StrEnum):
    """What a failure says about the next attempt; kept in a certificate's renewal memory."""

    TRANSIENT = "transient"
    RATE_LIMITED = "rate_limited"
    VALIDATION = "validation"
    ACCOUNT = "account"
    CONFIGURATION = "configuration"


class CertctlError(Exception):
    """A failure with a cause (`message`), the next thing to do (`hint`), and the certificate
    concerned (`name`).

    `resumable` says that an order in the middle of which it happened may still be finished later.
    """

    code: str = "internal"
    exit_status: ClassVar[ExitStatus] = ExitStatus.FAILED
    failure: ClassVar[Failure] = Failure.TRANSIENT
    resumable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        name: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.name = name
        if code is not None:
            self.code = code


def unexpected(error: Exception) -> CertctlError:
    """Return the error that stands for a mistake of certctl's own."""
    found = CertctlError(
        f"this should not have happened: {type(error).__name__}: {error}",
        hint="Please report it, with what the same command prints with --debug.",
    )
    found.__cause__ = error
    return found


# What the caller asked for.


class UsageError(CertctlError):
    """The command line, or a value given with it, cannot be meant."""

    code = "usage"
    exit_status = ExitStatus.USAGE
    failure = Failure.CONFIGURATION


class InvalidIdentifier(UsageError):
    """A domain name or an address that no certificate can be issued for."""

    code = "usage.identifier"


class UnknownCertificate(UsageError):
    """A certificate name that the home directory does not hold."""

    code = "usage.unknown_certificate"


class ConsentRequired(UsageError):
    """A confirmation or an agreement is missing, and nobody can be asked."""

    code = "usage.consent"


class ConfigurationError(CertctlError):
    """`certctl.toml`, a spec, an environment variable or a file's permissions stand in the way."""

    code = "configuration"
    exit_status = ExitStatus.USAGE
    failure = Failure.CONFIGURATION


class Interrupted(CertctlError):
    """The run was told to stop, by a signal or by its caller."""

    code = "interrupted"
    exit_status = ExitStatus.INTERRUPTED
    resumable = True


# What this machine holds.


class StoreError(CertctlError):
    """The home directory cannot be read or written; the message names the path and the cause."""

    code = "store"
    resumable = True


class StoreCorrupt(StoreError):
    """A file of the home directory is not what its format says."""

    code = "store.corrupt"


class LockHeld(CertctlError):
    """Another process works on the same certificate or account, or answers at the same port; `pid`
    where the kernel tells it.
    """

    code = "lock.held"
    exit_status = ExitStatus.LOCKED
    resumable = True

    def __init__(self, message: str, *, pid: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.pid = pid


class InspectionFailed(CertctlError):
    """A certificate that came from the CA does not fit what was asked for, and did not become
    live.
    """

    code = "certificate.refused"


# What the CA says.


class AcmeError(CertctlError):
    """The CA refused, or its answer made no sense.

    `type` is the problem type without its URN prefix (RFC 8555 §6.7), `status` the HTTP status,
    `retry_after` seconds from now, where the CA named a time. `reasons` has the CA's words for each
    identifier that it names (§6.7.1).
    """

    code = "acme.refused"

    def __init__(
        self,
        message: str,
        *,
        type: str | None = None,  # noqa: A002 - the name that RFC 9457 gives it
        status: int | None = None,
        retry_after: float | None = None,
        reasons: Sequence[tuple[str, str]] = (),
        hint: str | None = None,
        name: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, name=name, code=code)
        self.type = type
        self.status = status
        self.retry_after = retry_after
        self.reasons = tuple(reasons)


class CaUnavailable(AcmeError):
    """The CA could not be reached, or answers with a server error: later it may work."""

    code = "acme.unavailable"
    exit_status = ExitStatus.LATER
    resumable = True


class RateLimited(AcmeError):
    """The CA limits how much may be asked of it (RFC 8555 §6.6)."""

    code = "acme.rate_limited"
    exit_status = ExitStatus.LATER
    failure = Failure.RATE_LIMITED
    resumable = True


class AccountPaused(RateLimited):
    """The CA paused issuance for these names until somebody visits the URL in the message."""

    code = "acme.paused"


class AccountError(AcmeError):
    """The CA does not know the account, has deactivated it, or wants more before it serves it."""

    code = "acme.account"
    failure = Failure.ACCOUNT


class TermsChanged(AccountError):
    """The CA wants its new terms of service agreed to (`userActionRequired`)."""

    code = "acme.terms"
    exit_status = ExitStatus.USAGE


class EabRequired(AccountError):
    """The CA wants an external account binding (RFC 8555 §7.3.4)."""

    code = "acme.eab_required"
    exit_status = ExitStatus.USAGE


class BadResponse(AcmeError):
    """An answer that RFC 8555 does not allow, too large, too slow, or cut off."""

    code = "acme.bad_response"
    resumable = True


class RenewalInfoUnavailable(AcmeError):
    """The CA gave no renewal information that could be used (RFC 9773 §4.3.3); `lasting` where
    asking again soon would not change that.
    """

    code = "acme.renewal_info"

    def __init__(
        self,
        message: str,
        *,
        permanent: bool = False,
        status: int | None = None,
        retry_after: float | None = None,
        hint: str | None = None,
        name: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(
            message, status=status, retry_after=retry_after, hint=hint, name=name, code=code
        )
        self.permanent = permanent


class OrderFailed(AcmeError):
    """The order became invalid, or did not become valid in time."""

    code = "acme.order_failed"
    failure = Failure.VALIDATION


class OrderTimeout(OrderFailed):
    """The order took longer than it was allowed to; the CA may still finish it."""

    code = "acme.order_timeout"
    failure = Failure.TRANSIENT
    resumable = True


class NamesMissing(CertctlError):
    """A certificate was issued without some of its names, as its spec allows."""

    code = "certificate.incomplete"
    exit_status = ExitStatus.PARTIAL
    failure = Failure.VALIDATION


# How control of a name is proved.


class ChallengeError(CertctlError):
    """A challenge could not be set up, or the CA did not accept it."""

    code = "challenge"
    failure = Failure.VALIDATION


class ValidationFailed(ChallengeError):
    """The CA tried, and did not find what it looked for; `reasons` has its own words per
    identifier.
    """

    code = "challenge.failed"

    def __init__(
        self,
        message: str,
        *,
        reasons: Sequence[tuple[str, str]] = (),
        hint: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, name=name)
        self.reasons = tuple(reasons)


class PropagationTimeout(ChallengeError):
    """The TXT records did not reach every authoritative server in time; the message says who lacks
    what.
    """

    code = "challenge.dns.propagation"


# How a certificate reaches its consumer.


class HookFailed(CertctlError):
    """A hook ended with an error or ran out of time; the message has the end of its output."""

    code = "hook.failed"


class NotServed(CertctlError):
    """A service shows another certificate than it should, or none, or one that clients refuse."""

    code = "verify.failed"


class AlertFailed(CertctlError):
    """Nobody could be told how a run ended; the run itself has ended as it did."""

    code = "alert.failed"


class DeployFailed(CertctlError):
    """The certificate is saved and live, but a hook or a reload failed: the deploy is owed."""

    code = "deploy.failed"
    exit_status = ExitStatus.NOT_DEPLOYED
