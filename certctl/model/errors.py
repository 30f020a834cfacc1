"""The exception hierarchy: every failure that certctl reports is one of these.

Each class has a stable `code` (part of the JSON contract), an exit status, and a category that
decides how the next attempt is scheduled (`failure`). Errors are raised where the cause is known,
translated once where a library or the CA is called, and rendered by one handler at the top. This
module is independent of terminals and of JSON. Messages and hints are always printable
and of bounded length.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, StrEnum
from typing import ClassVar

from certctl.model.text import LINE, MESSAGE, NAME, escaped


class ExitStatus(IntEnum):
    """Exit status of the process; if several apply, the first in `PRECEDENCE` wins."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    NOT_DEPLOYED = 4
    LOCKED = 5
    LATER = 6
    SOMETHING_TO_DO = 7
    INTERRUPTED = 130


class PluginStatus(IntEnum):
    """Exit status of `check`, from the Monitoring Plugins Guidelines; not an `ExitStatus`."""

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
    ExitStatus.SOMETHING_TO_DO,
    ExitStatus.DONE,
)


def worst(statuses: Sequence[ExitStatus]) -> ExitStatus:
    """Return the status with the highest precedence; `DONE` if `statuses` is empty."""
    return min(statuses, key=PRECEDENCE.index, default=ExitStatus.DONE)


class Failure(StrEnum):
    """Category of a failure, which decides the next attempt; kept in the renewal state."""

    TRANSIENT = "transient"
    RATE_LIMITED = "rate_limited"
    VALIDATION = "validation"
    ACCOUNT = "account"
    CONFIGURATION = "configuration"


class CertctlError(Exception):
    """A failure: its cause (`message`), what to do next (`hint`), and the certificate (`name`).

    `resumable`: an order that this error interrupted can be finished by a later run. `multiline`:
    the message and the hint may have line breaks. `nothing_placed`: a challenge response that could
    not be placed left nothing behind, since it was refused, or never attempted.
    """

    code: str = "internal"
    exit_status: ClassVar[ExitStatus] = ExitStatus.FAILED
    failure: ClassVar[Failure] = Failure.TRANSIENT
    resumable: ClassVar[bool] = False
    multiline: ClassVar[bool] = False
    nothing_placed: bool = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        name: str | None = None,
        code: str | None = None,
    ) -> None:
        self.message = escaped(message, MESSAGE, lines=self.multiline)
        super().__init__(self.message)
        self.hint = hint
        self.name = name
        if code is not None:
            self.code = code

    @property
    def hint(self) -> str | None:
        """What to do next."""
        return self._hint

    @hint.setter
    def hint(self, hint: str | None) -> None:
        self._hint = None if hint is None else escaped(hint, MESSAGE, lines=self.multiline)

    @property
    def name(self) -> str | None:
        """The certificate or service that the error is about."""
        return self._name

    @name.setter
    def name(self, name: str | None) -> None:
        self._name = None if name is None else escaped(name, NAME)


def unexpected(error: Exception) -> CertctlError:
    """Return the error to report for an exception that certctl did not expect."""
    found = CertctlError(
        f"internal error in certctl: {type(error).__name__}: {error}",
        hint="This is a bug. Run the command again with --debug and report its output.",
    )
    found.__cause__ = error
    return found


def _safe_reasons(reasons: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((escaped(name, NAME), escaped(reason, LINE)) for name, reason in reasons)


# Usage and configuration.


class UsageError(CertctlError):
    """The command line, or a value given on it, is invalid."""

    code = "usage"
    exit_status = ExitStatus.USAGE
    failure = Failure.CONFIGURATION


class InvalidIdentifier(UsageError):
    """A domain name or an IP address for which no certificate can be issued."""

    code = "usage.identifier"


class UnknownCertificate(UsageError):
    """The home directory has no certificate of that name."""

    code = "usage.unknown_certificate"


class ConsentRequired(UsageError):
    """A confirmation or an agreement is required, but there is no terminal to ask on."""

    code = "usage.consent"
    multiline = True


class Declined(ConsentRequired):
    """The user answered a question with no; nothing was changed."""

    code = "usage.declined"


class PlanChanged(CertctlError):
    """A certificate is no longer as it was when its plan was agreed to; nothing was done to it."""

    code = "plan.changed"
    exit_status = ExitStatus.PARTIAL
    failure = Failure.CONFIGURATION


class ConfigurationError(CertctlError):
    """`certctl.toml`, a spec, an environment variable or the permissions of a file are wrong."""

    code = "configuration"
    exit_status = ExitStatus.USAGE
    failure = Failure.CONFIGURATION
    nothing_placed = True


class Interrupted(CertctlError):
    """The run was stopped by a signal or by its caller."""

    code = "interrupted"
    exit_status = ExitStatus.INTERRUPTED
    resumable = True


# The home directory and certificates in it.


class StoreError(CertctlError):
    """The home directory cannot be read or written; the message has the path and the cause."""

    code = "store"
    resumable = True


class StoreCorrupt(StoreError):
    """A file in the home directory does not have the expected format."""

    code = "store.corrupt"


class StoreNewer(StoreError):
    """A file in the home directory has a format of a newer certctl; it is left as it is."""

    code = "store.newer"


class FilesDamaged(StoreCorrupt):
    """Files of a version are missing or damaged, and cannot be restored from its other files."""

    code = "store.damaged"


class Conflict(StoreError):
    """What was to be changed has changed since it was read, so it was not written."""

    code = "store.conflict"


class Fenced(StoreError):
    """The lease that protects a change was lost, so it was not written."""

    code = "store.fenced"
    exit_status = ExitStatus.LOCKED


class LockHeld(CertctlError):
    """Another process holds the lock of the certificate, the account or the port.

    `pid` is that process, or None if the kernel does not report it.
    """

    code = "lock.held"
    exit_status = ExitStatus.LOCKED
    resumable = True

    def __init__(self, message: str, *, pid: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.pid = pid


class InspectionFailed(CertctlError):
    """The CA issued a certificate that does not match the request; it was not installed."""

    code = "certificate.refused"


# Errors from the CA.


class AcmeError(CertctlError):
    """The CA rejected a request, or its response was invalid.

    `type` is the problem type without its URN prefix (RFC 8555 §6.7), `status` the HTTP status,
    and `retry_after` the number of seconds that the CA asked certctl to wait. `reasons` has the
    identifiers that the CA named, each with the CA's explanation (§6.7.1).
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
        self.reasons = _safe_reasons(reasons)


class CaUnavailable(AcmeError):
    """The CA could not be reached or returned a server error; a later attempt may succeed."""

    code = "acme.unavailable"
    exit_status = ExitStatus.LATER
    resumable = True


class RateLimited(AcmeError):
    """A rate limit of the CA was exceeded (RFC 8555 §6.6)."""

    code = "acme.rate_limited"
    exit_status = ExitStatus.LATER
    failure = Failure.RATE_LIMITED
    resumable = True


class AccountPaused(RateLimited):
    """The CA paused issuance for these names; it resumes when someone opens the URL given."""

    code = "acme.paused"


class AccountError(AcmeError):
    """The CA does not know the account, has deactivated it, or requires something else first."""

    code = "acme.account"
    failure = Failure.ACCOUNT


class TermsChanged(AccountError):
    """The CA requires agreement to its changed terms of service (`userActionRequired`)."""

    code = "acme.terms"
    exit_status = ExitStatus.USAGE


class EabRequired(AccountError):
    """The CA requires an external account binding (RFC 8555 §7.3.4)."""

    code = "acme.eab_required"
    exit_status = ExitStatus.USAGE


class BadResponse(AcmeError):
    """A response that violates RFC 8555, is too large or too slow, or was cut off."""

    code = "acme.bad_response"
    resumable = True


class CertificateNotFound(AcmeError):
    """The CA does not find the certificate of a valid order; a later attempt may succeed."""

    code = "acme.certificate_not_found"
    exit_status = ExitStatus.LATER
    resumable = True


class RenewalInfoUnavailable(AcmeError):
    """The CA returned no usable renewal information (RFC 9773 §4.3.3).

    `permanent`: asking again soon will not help.
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
    """The order became invalid, or (`OrderTimeout`) did not finish in time."""

    code = "acme.order_failed"
    failure = Failure.VALIDATION


class OrderTimeout(OrderFailed):
    """The order did not finish within the timeout; the CA may still finish it."""

    code = "acme.order_timeout"
    failure = Failure.TRANSIENT
    resumable = True


class NamesMissing(CertctlError):
    """The certificate was issued without some of its names, as `allow_subset` permits."""

    code = "certificate.incomplete"
    exit_status = ExitStatus.PARTIAL
    failure = Failure.VALIDATION


# Domain validation.


class ChallengeError(CertctlError):
    """A challenge could not be set up, or the CA did not accept it."""

    code = "challenge"
    failure = Failure.VALIDATION


class ValidationFailed(ChallengeError):
    """The CA could not validate a challenge; `reasons` has the CA's explanation per identifier."""

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
        self.reasons = _safe_reasons(reasons)


class PropagationTimeout(ChallengeError):
    """The TXT records did not appear on enough authoritative servers in time.

    The message names the servers and the records that they lack. `on_some`: each record is on at
    least one server of its zone, so that a CA may find it.
    """

    code = "challenge.dns.propagation"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        code: str | None = None,
        on_some: bool = False,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.on_some = on_some


# Deployment and alerts.


class HookFailed(CertctlError):
    """A hook failed or timed out; the message ends with the last lines of its output."""

    code = "hook.failed"
    multiline = True


class NotServed(CertctlError):
    """A service presents the wrong certificate, none at all, or one that clients reject."""

    code = "verify.failed"


class WebServerRefused(CertctlError):
    """A web server's configuration is not one that certctl changes; nothing was changed."""

    code = "webserver.refused"
    exit_status = ExitStatus.USAGE
    failure = Failure.CONFIGURATION
    multiline = True


class WebServerFailed(CertctlError):
    """A web server did not load its changed configuration, or does not answer with it."""

    code = "webserver.failed"
    multiline = True


class AlertFailed(CertctlError):
    """An alert could not be sent; the result of the run itself is unaffected."""

    code = "alert.failed"


class DeployFailed(CertctlError):
    """The certificate is saved and live, but a hook or a reload failed; the next run retries it."""

    code = "deploy.failed"
    exit_status = ExitStatus.NOT_DEPLOYED
    multiline = True
