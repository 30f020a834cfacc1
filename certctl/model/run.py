"""What a run did, what it found, and what the next one must know.

Frozen dataclasses of standard-library types. All times are timezone-aware UTC, all durations are
in seconds.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from certctl.model.certificate import Version
from certctl.model.delivery import DeployResult
from certctl.model.lazy_dataclass import dataclass


@dataclass(frozen=True)
class LastAlert:
    """The last alert that was sent: when, and about which failures, each as `NAME CODE`."""

    at: datetime
    failures: tuple[str, ...]


@dataclass(frozen=True)
class PrintedFailure:
    """A failure, as `NAME CODE`, that a scheduled run of `renew` printed, and when."""

    failure: str
    at: datetime


@dataclass(frozen=True)
class RunHistory:
    """The recent scheduled runs of `renew`, the oldest first (`run.json`).

    `exit_status` is that of the latest run and `succeeded_at` the time of the latest success, None
    if unknown. `last_alert` is None if no failure is outstanding that an alert was sent about.
    `printed` has the failures that are outstanding and were printed.
    `latest_in_future` is the latest run that a wrong clock has dated in the future; it is not among
    `runs`. `external`: something other than a timer or cron job of certctl's runs `renew`, as the
    user has said.
    """

    runs: tuple[datetime, ...] = ()
    exit_status: int | None = None
    succeeded_at: datetime | None = None
    last_alert: LastAlert | None = None
    printed: tuple[PrintedFailure, ...] = ()
    latest_in_future: datetime | None = None
    external: bool = False

    @property
    def interval(self) -> timedelta | None:
        """The median time between runs, of two the shorter; None if there are too few."""
        gaps = sorted(after - before for before, after in pairwise(self.runs))
        return gaps[(len(gaps) - 1) // 2] if len(gaps) > 1 else None


@dataclass(frozen=True)
class TemporaryFile:
    """A temporary file or directory that a killed process left; `name` is the certificate that it
    belongs to, None if it belongs to none.
    """

    path: str
    name: str | None = None


@dataclass(frozen=True)
class OutstandingPostHooks:
    """A journal entry: post hooks that must run because their pre hooks were started."""

    entry: str
    commands: tuple[str, ...]
    timeout: float


@dataclass(frozen=True)
class RunFailure:
    """A failure in a run; `name` is that of the certificate, None if it concerns none."""

    name: str | None
    code: str
    message: str
    hint: str | None = None


@dataclass(frozen=True)
class RunSummary:
    """The result of a scheduled run of `renew`, for alerts."""

    at: datetime
    exit_status: int
    considered: int
    failures: tuple[RunFailure, ...] = ()


class Severity(StrEnum):
    """Severity of a finding: something will fail, something may fail, or for information."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Finding:
    """A finding of `doctor`: a stable `code`, and its `subject` (a name, a file, a CA).

    `fix` says what to do or type next; None if nothing has to be done.
    """

    code: str
    severity: Severity
    subject: str
    message: str
    fix: str | None = None


class WindowKind(StrEnum):
    """What is done in a window."""

    ORDER = "order"
    DEPLOY = "deploy"


@dataclass(frozen=True)
class WindowWait:
    """Something that is done once a window opens, at `until`: an order, or the deployment of the
    archived `version`. `windows` are those of the specification.
    """

    kind: WindowKind
    until: datetime
    windows: tuple[str, ...]
    version: int | None = None


@dataclass(frozen=True)
class RevokedVersion:
    """A version that was revoked; `already`: the CA had done so before."""

    version: int
    serial: str
    already: bool


@dataclass(frozen=True)
class Outcome:
    """The result of a run for one certificate; `action` is a stable word (`issued`, `failed` …).

    `incomplete` is the error that names what the certificate was issued without. `revoked` are the
    versions that were revoked, `waits` is what happens later, in a window.
    """

    name: str
    action: str
    names: tuple[str, ...] = ()
    version: Version | None = None
    deploy: DeployResult | None = None
    error: Exception | None = None
    incomplete: Exception | None = None
    reason: str | None = None
    renews_at: datetime | None = None
    revoked: tuple[RevokedVersion, ...] = ()
    waits: WindowWait | None = None
