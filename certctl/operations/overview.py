"""What is there: one frozen row a certificate, for `list`, `show` and whoever scripts them.

Reads small files only; no key and no certificate is parsed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from certctl.ca.directories import label, standing
from certctl.errors import CertctlError
from certctl.models import CertificateFiles, CertificateSpec, CertificateStatus, LastError, Version
from certctl.operations.run import Run
from certctl.operations.specs import load, require
from certctl.renewal import decide


@dataclass(frozen=True)
class CertificateView:
    """One certificate as a person asks about it; times are UTC, `problem` is why it could not be
    read.

    `state` is one word: `valid`, `due`, `expired`, `revoked`, `missing`, `failing`, `owed`,
    `stopped` or `unreadable`.
    """

    name: str
    state: str
    names: tuple[str, ...] = ()
    ca: str = ""
    public: bool = True
    live: Version | None = None
    seconds_left: float | None = None
    renews_at: datetime | None = None
    due: bool = False
    why: str = ""
    deployed: bool = False
    deployed_version: int | None = None
    last_error: LastError | None = None
    problem: CertctlError | None = None


@dataclass(frozen=True)
class CertificateDetails:
    """A view with everything behind it, for `show`."""

    view: CertificateView
    spec: CertificateSpec
    status: CertificateStatus
    versions: tuple[Version, ...]
    files: CertificateFiles | None


def overview(run: Run, names: Sequence[str] = ()) -> list[CertificateView]:
    """Return a row for each certificate asked for, all of them by default, by name."""
    chosen = require(run, tuple(names)) or run.services.store.names()
    return [_row(run, name) for name in chosen]


def details(run: Run, name: str) -> CertificateDetails:
    """Return everything about one certificate. Raises `UnknownCertificate`."""
    require(run, (name,))
    spec, status = load(run, name), run.services.store.status(name)
    return CertificateDetails(
        view=_view(run, spec, status),
        spec=spec,
        status=status,
        versions=tuple(run.services.store.versions(name)),
        files=run.services.tree.files(status.live) if status.live else None,
    )


def _row(run: Run, name: str) -> CertificateView:
    try:
        return _view(run, load(run, name), run.services.store.status(name))
    except CertctlError as error:
        error.name = error.name or name
        return CertificateView(name, "unreadable", problem=error)


def _view(run: Run, spec: CertificateSpec, status: CertificateStatus) -> CertificateView:
    now, live = run.services.clock.now(), status.live
    decision = decide(spec, status, now)
    return CertificateView(
        name=spec.name,
        state=_state(status, decision.due, decision.reason, now),
        names=tuple(each.value for each in spec.identifiers),
        ca=label(spec.ca),
        public=standing(live.request.ca if live else spec.ca) == "public",
        live=live,
        seconds_left=(live.facts.not_after - now).total_seconds() if live else None,
        renews_at=decision.at,
        due=decision.due,
        why=decision.why,
        deployed=live is not None and not status.owed,
        deployed_version=status.deployment.deployed,
        last_error=status.memory.last_error or status.deployment.last_error,
    )


def _state(status: CertificateStatus, due: bool, reason: str, now: datetime) -> str:
    """Return the one word that says most: what hurts visitors first, then what needs a person."""
    live = status.live
    if live is None:
        return "missing"
    if live.facts.not_after <= now:
        return "expired"
    if live.number in status.memory.revoked:
        return "revoked"
    if status.memory.failures:
        return "failing"
    if status.owed:
        return "owed"
    if reason == "stopped":
        return "stopped"
    return "due" if due else "valid"
