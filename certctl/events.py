"""What happens during a run, as frozen values; the face drains them, nothing below waits for it.

A sink may be called from any thread, never blocks and never raises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar


@dataclass(frozen=True)
class Event:
    """Something happened to the certificate `name` (empty for the run as a whole) at `at`, UTC."""

    kind: ClassVar[str] = "event"
    name: str
    at: datetime


EventSink = Callable[[Event], None]


@dataclass(frozen=True)
class RunStarted(Event):
    """A run found what there is to do: `due` of `considered` certificates are to be ordered, and
    `owed` only to be deployed.
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
    """Work on a certificate ended; `action` is that of its `Outcome`, `code` that of its error."""

    kind = "certificate.finished"
    action: str
    code: str | None = None


@dataclass(frozen=True)
class AccountRegistered(Event):
    """An account was made at a CA, or found there again."""

    kind = "account.registered"
    url: str
    created: bool


@dataclass(frozen=True)
class OrderPlaced(Event):
    """The CA took an order; `resumed` where it is one of an earlier run."""

    kind = "order.placed"
    url: str
    resumed: bool


@dataclass(frozen=True)
class ChallengesPresented(Event):
    """The answers stand where the CA will look."""

    kind = "challenge.presented"
    type: str
    identifiers: tuple[str, ...]


@dataclass(frozen=True)
class ChallengesSeen(Event):
    """The answers can be seen (DNS: every authoritative server has them)."""

    kind = "challenge.seen"
    seconds: float


@dataclass(frozen=True)
class OrderReady(Event):
    """The CA accepted control of every identifier."""

    kind = "order.ready"


@dataclass(frozen=True)
class CertificateSaved(Event):
    """A new version is in the archive and live."""

    kind = "certificate.saved"
    version: int
    not_after: datetime


@dataclass(frozen=True)
class HookStarted(Event):
    """A hook or a reload began."""

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
    """Every step of a version's deploy held."""

    kind = "deploy.done"
    version: int


@dataclass(frozen=True)
class Verified(Event):
    """A service was seen to serve what it should: at `address`, to who asked for
    `server_name`.
    """

    kind = "verify.done"
    service: str
    address: str
    server_name: str


@dataclass(frozen=True)
class VerifyFailed(Event):
    """A service was seen to serve something else, or nothing; `reason` says what was seen."""

    kind = "verify.failed"
    service: str
    address: str
    server_name: str
    reason: str


@dataclass(frozen=True)
class Checking(Event):
    """`doctor` began to look at something; `what` is a phrase."""

    kind = "doctor.checking"
    what: str


@dataclass(frozen=True)
class Revoked(Event):
    """A certificate was revoked at its CA; `already` where it had been before."""

    kind = "certificate.revoked"
    serial: str
    already: bool


@dataclass(frozen=True)
class Skipped(Event):
    """A certificate was passed over; `reason` is a sentence."""

    kind = "run.skipped"
    reason: str


@dataclass(frozen=True)
class Retrying(Event):
    """A request to the CA is tried again in `seconds`."""

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
class Warned(Event):
    """Something that a person should know, though the work goes on."""

    kind = "run.warning"
    message: str
