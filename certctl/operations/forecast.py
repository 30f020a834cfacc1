"""A forecast: what would be done to each certificate, why, and what it needs of each CA."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum

from certctl.model.ca import LedgerEntry
from certctl.model.certificate import RenewalDecision, Version
from certctl.model.errors import CertctlError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import CertificateSpec
from certctl.rules.plan import Order, Step
from certctl.rules.spec_differences import Difference


class Action(StrEnum):
    """What is done to a certificate; the most important word if several apply."""

    CREATE = "create"
    CHANGE = "change"
    RENEW = "renew"
    DEPLOY = "deploy"
    REVOKE = "revoke"
    DELETE = "delete"
    KEEP = "keep"
    WAIT = "wait"
    LATER = "later"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True)
class Planned:
    """What is planned for one certificate.

    `spec` is what it should be and `saved` what is stored, None for a new one; `differences` are
    between the two. `steps` are those that may be taken now: with `at`, the order comes only then,
    since its CA's limits leave no room before. `opens` is when its own window does, if it waits
    for that. `edited`: the specification was edited by hand since it was applied. `forced`: it is
    ordered although it is not to be renewed. `served_until` is when the live version expires, and
    `not_served` are the names that it is not for. `error` is why nothing can be done.
    """

    name: str
    action: Action
    why: str
    spec: CertificateSpec | None
    saved: CertificateSpec | None = None
    steps: tuple[Step, ...] = ()
    differences: tuple[Difference, ...] = ()
    at: datetime | None = None
    opens: datetime | None = None
    edited: bool = False
    forced: bool = False
    keeps_windows: bool = True
    csr: bytes | None = field(default=None, repr=False)
    live: Version | None = None
    served_until: datetime | None = None
    not_served: tuple[str, ...] = ()
    error: CertctlError | None = None
    decision: RenewalDecision | None = None
    urgency: tuple[int, datetime] | None = None
    counts_as: tuple[LedgerEntry, ...] = field(default=(), repr=False)
    postponed_until: datetime | None = None

    @property
    def asked(self) -> CertificateSpec | None:
        """The spec as the CA is asked for it that comes first."""
        order = next((each for each in self.steps if isinstance(each, Order)), None)
        return self.spec if order is None else order.asked

    @property
    def saves(self) -> bool:
        """Whether its specification is saved."""
        return self.action in {Action.CREATE, Action.CHANGE}

    @property
    def orders(self) -> bool:
        """Whether a certificate is ordered, now or later."""
        return any(isinstance(each, Order) for each in self.steps)

    @property
    def does_something(self) -> bool:
        """Whether something would be done now, or saved to be done later."""
        return self.action not in {
            Action.KEEP,
            Action.WAIT,
            Action.LATER,
            Action.UNCHANGED,
            Action.FAILED,
        }


@dataclass(frozen=True)
class LimitUse:
    """How much of one limit of a CA is used by now, and would be by the orders of now and later.
    `subject` is what it is counted for, "" for all.
    """

    limit: str
    count: int
    subject: str
    used: int
    now: int
    later: int


@dataclass(frozen=True)
class CaUse:
    """The orders at one CA: `now`, and `later`, the last of them at `last`."""

    ca: str
    now: int
    later: int
    last: datetime | None
    limits: tuple[LimitUse, ...]


@dataclass(frozen=True)
class Forecast:
    """What would be done at this time: every certificate, by name, and what it needs of each CA.

    `pruned` says whether what is not in the desired state is deleted; without it, `left_over` are
    the certificates of its `owner` that would be.
    """

    made: datetime
    items: tuple[Planned, ...]
    cas: tuple[CaUse, ...] = ()
    owner: str | None = None
    left_over: tuple[str, ...] = ()

    @property
    def to_do(self) -> tuple[Planned, ...]:
        """What would be done."""
        return tuple(each for each in self.items if each.does_something)

    @property
    def errors(self) -> tuple[CertctlError, ...]:
        """Why nothing can be done to some certificates."""
        return tuple(each.error for each in self.items if each.error is not None)

    def counts(self) -> Mapping[Action, int]:
        """Return how many certificates there are of each action."""
        return Counter(each.action for each in self.items)
