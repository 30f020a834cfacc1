"""One row for each certificate, for `list` and `show`.

Reads only small files; parses no key and no certificate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from certctl.engine.current import current_state_of, summary_of
from certctl.engine.rows import CertificateView, from_saved, row_of, to_saved
from certctl.engine.run import Run
from certctl.engine.specs import load, require
from certctl.model.certificate import Version
from certctl.model.delivery import CertificateFiles
from certctl.model.errors import CertctlError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import CertificateSpec
from certctl.model.status import CertificateStatus

_MANY = 100
"""The number of certificates from which caching their rows pays off."""


@dataclass(frozen=True)
class CertificateDetails:
    """A view with all its details, for `show`."""

    view: CertificateView
    spec: CertificateSpec
    status: CertificateStatus
    versions: tuple[Version, ...]
    files: CertificateFiles | None


def overview(run: Run, names: Sequence[str] = ()) -> list[CertificateView]:
    """Return a row for each of the certificates named, by default for all, sorted by name."""
    chosen = require(run, tuple(names)) or run.services.records.names()
    if names or len(chosen) < _MANY:
        return _with_hooks([_row(run, name)[0] for name in chosen], run)
    return _with_hooks(_many(run, chosen), run)


def _with_hooks(views: list[CertificateView], run: Run) -> list[CertificateView]:
    """Return the rows; with deploy hooks for every certificate, each has a target."""
    if all(each.has_target for each in views) or not _deploys_everything(run):
        return views
    return [replace(each, has_target=True) for each in views]


def details(run: Run, name: str) -> CertificateDetails:
    """Return everything about one certificate. Raises `UnknownCertificate`."""
    require(run, (name,))
    spec, status = load(run, name), current_state_of(name, run.services)
    now = run.services.clock.now()
    return CertificateDetails(
        view=_with_hooks([row_of(spec, status, now)[0]], run)[0],
        spec=spec,
        status=status,
        versions=tuple(summary_of(name, run.services).versions.values()),
        files=run.services.tree.files(status.live) if status.live else None,
    )


def _many(run: Run, names: Sequence[str]) -> list[CertificateView]:
    """Return a row for each of many certificates. Those that have not changed since their row was
    saved or cached are not read: reading ten thousand takes seconds.
    """
    machine, now = run.services.machine, run.services.clock.now()
    known = machine.cached_rows(names, now)
    fresh: dict[str, tuple[Mapping[str, object], datetime]] = {}
    views: list[CertificateView] = []
    for name in names:
        view, until = from_saved(name, known.get(name), now) or _row(run, name)
        views.append(view)
        if until is not None:
            fresh[name] = known.get(name) or to_saved(view), until
    machine.cache_rows(fresh)
    return views


def _row(run: Run, name: str) -> tuple[CertificateView, datetime | None]:
    """Return a certificate's row and until when it is valid; None if it can change at any time."""
    try:
        spec, status = load(run, name), current_state_of(name, run.services)
    except CertctlError as error:
        error.name = error.name or name
        return CertificateView(name, "unreadable", problem=error), None
    return row_of(spec, status, run.services.clock.now())


def _deploys_everything(run: Run) -> bool:
    """Return whether there are deploy hooks that run for every certificate."""
    try:
        return bool(run.services.tree.hooks("deploy"))
    except CertctlError:
        return True  # one that others could have changed: a deployment reports it
