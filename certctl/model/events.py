"""Progress of a run as frozen values, which the command line displays and logs.

A sink may be called from any thread. It never blocks and never raises.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import ClassVar

from certctl.model.lazy_dataclass import dataclass


@dataclass(frozen=True)
class Event:
    """Something happened at `at` (UTC) to the certificate `name`, empty for the run as a whole."""

    kind: ClassVar[str] = "event"
    name: str
    at: datetime


EventSink = Callable[[Event], None]


@dataclass(frozen=True)
class RunStarted(Event):
    """A run found its work: of `considered` certificates, `due` will be ordered and `undeployed`
    only deployed.
    """

    kind = "run.started"
    considered: int
    due: int
    undeployed: int


@dataclass(frozen=True)
class CertificateStarted(Event):
    """Work on a certificate began; `reason` is why it is due."""

    kind = "certificate.started"
    reason: str


@dataclass(frozen=True)
class CertificateFinished(Event):
    """Work on a certificate ended: the `action` of its `Outcome`, the `code` of its error."""

    kind = "certificate.finished"
    action: str
    code: str | None = None


@dataclass(frozen=True)
class AccountRegistered(Event):
    """An account was registered at a CA, or an existing one was found (`created` is false)."""

    kind = "account.registered"
    url: str
    created: bool


@dataclass(frozen=True)
class OrderPlaced(Event):
    """The CA accepted an order; `resumed`: an earlier run had placed it."""

    kind = "order.placed"
    url: str
    resumed: bool


@dataclass(frozen=True)
class ChallengesPresented(Event):
    """The challenge responses are in place."""

    kind = "challenge.presented"
    type: str
    identifiers: tuple[str, ...]


@dataclass(frozen=True)
class ChallengesSeen(Event):
    """The challenge responses are visible; for DNS, on the authoritative servers."""

    kind = "challenge.seen"
    seconds: float


@dataclass(frozen=True)
class OrderReady(Event):
    """The CA has validated every identifier."""

    kind = "order.ready"


@dataclass(frozen=True)
class CertificateSaved(Event):
    """A new version was archived and made live."""

    kind = "certificate.saved"
    version: int
    not_after: datetime


@dataclass(frozen=True)
class HookStarted(Event):
    """A hook or a reload started."""

    kind = "hook.started"
    event: str
    command: str


@dataclass(frozen=True)
class HookFinished(Event):
    """A hook or a reload ended with `exit_status`, after `seconds`."""

    kind = "hook.finished"
    event: str
    command: str
    exit_status: int
    seconds: float


@dataclass(frozen=True)
class Deployed(Event):
    """A version was deployed; every step succeeded."""

    kind = "deploy.done"
    version: int


@dataclass(frozen=True)
class Verified(Event):
    """A live check found the right certificate at `address` for the SNI name `server_name`."""

    kind = "verify.done"
    service: str
    address: str
    server_name: str


@dataclass(frozen=True)
class VerifyFailed(Event):
    """A live check failed; `reason` says what was found."""

    kind = "verify.failed"
    service: str
    address: str
    server_name: str
    reason: str


@dataclass(frozen=True)
class Checking(Event):
    """`doctor` started a check; `what` describes it in a phrase."""

    kind = "doctor.checking"
    what: str


@dataclass(frozen=True)
class Revoked(Event):
    """A certificate was revoked at its CA; `already`: it had been revoked before."""

    kind = "certificate.revoked"
    serial: str
    already: bool


@dataclass(frozen=True)
class Skipped(Event):
    """A certificate was skipped; `reason` is a sentence."""

    kind = "run.skipped"
    reason: str


@dataclass(frozen=True)
class Retrying(Event):
    """A request to the CA will be retried in `seconds`."""

    kind = "acme.retrying"
    reason: str
    seconds: float


@dataclass(frozen=True)
class Failed(Event):
    """Work on a certificate ended with an error."""

    kind = "run.failed"
    code: str
    message: str


@dataclass(frozen=True)
class NextCa(Event):
    """A CA is out of service, so that the next one of the certificate is asked.

    `ca` and `failed_ca` are directory URLs, `code` and `message` those of the failure.
    """

    kind = "ca.next"
    ca: str
    failed_ca: str
    code: str
    message: str


@dataclass(frozen=True)
class Warned(Event):
    """A problem that does not stop the run."""

    kind = "run.warning"
    message: str
