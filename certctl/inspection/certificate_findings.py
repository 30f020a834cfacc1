"""Problems with existing certificates as findings of `doctor`: the states that `list` shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from certctl.engine.current import current_state_of
from certctl.engine.rows import CertificateView
from certctl.engine.run import Run
from certctl.inspection.overview import overview
from certctl.model.run import Finding, Severity
from certctl.model.spec import CertificateSpec
from certctl.rules.remembered_times import in_future
from certctl.rules.renewal_windows import too_rare_text, window_too_rare


def state_findings(names: Sequence[str], run: Run) -> Iterator[Finding]:
    """Yield a finding for each of these certificates whose state in `list` is a problem."""
    if not names:
        return
    now = run.services.clock.now()
    for view in overview(run, names):
        finding = _STATES.get(view.state)
        if finding is not None:
            yield finding(view)
        if view.live is not None and in_future(view.live.not_before, now):
            yield _not_yet_valid(view.name, view.live.not_before)


def _not_yet_valid(name: str, not_before: datetime) -> Finding:
    return Finding(
        "certificate.not_yet_valid",
        Severity.ERROR,
        name,
        f"it is not valid before {not_before:%Y-%m-%d %H:%M} UTC: the clock was ahead when it was"
        " issued, or is behind now",
        f"Compare the clock with the right time (date), then: certctl renew {name}",
    )


def _expired(view: CertificateView) -> Finding:
    end = f"{view.live.not_after:%Y-%m-%d %H:%M} UTC" if view.live else ""
    return Finding(
        "certificate.expired",
        Severity.ERROR,
        view.name,
        f"it expired at {end}{_last_error(view)}",
        f"certctl renew {view.name}",
    )


def _revoked(view: CertificateView) -> Finding:
    return Finding(
        "certificate.revoked",
        Severity.ERROR,
        view.name,
        "its live version is revoked",
        f"certctl edit {view.name}, or if it is no longer needed: certctl delete {view.name}",
    )


def _damaged(view: CertificateView) -> Finding:
    return Finding(
        "certificate.damaged",
        Severity.ERROR,
        view.name,
        f"files of its live version are damaged: {view.damage}",
        f"certctl renew {view.name}",
    )


def _missing(view: CertificateView) -> Finding:
    return Finding(
        "certificate.missing",
        Severity.WARNING,
        view.name,
        f"it was never issued{_last_error(view)}",
        f"certctl renew {view.name}",
    )


def _failing(view: CertificateView) -> Finding:
    hint = view.last_error.hint if view.last_error else None
    return Finding(
        "certificate.failing",
        Severity.ERROR,
        view.name,
        f"its renewal fails{_last_error(view)}",
        hint or f"certctl renew {view.name}",
    )


def _undeployed(view: CertificateView) -> Finding:
    return Finding(
        "certificate.undeployed",
        Severity.ERROR,
        view.name,
        f"the version that should be live is not deployed yet{_last_error(view)}",
        f"certctl deploy {view.name}",
    )


def _stopped(view: CertificateView) -> Finding:
    return Finding(
        "certificate.stopped",
        Severity.INFO,
        view.name,
        f"it is not renewed automatically: {view.why}",
        f"certctl edit {view.name} --autorenew",
    )


def _waiting(view: CertificateView) -> Finding:
    waits = view.waits
    until = f" until {waits.until:%Y-%m-%d %H:%M} UTC" if waits else ""
    kind = "deploy" if waits and waits.version is not None else "order"
    what = "a new version" if kind == "deploy" else "its order"
    text = f"{what} waits for its {kind} window{until}"
    return Finding("certificate.waiting", Severity.INFO, view.name, text)


def window_findings(specs: Sequence[CertificateSpec], run: Run) -> Iterator[Finding]:
    """Yield the windows that open too rarely for the lifetime of their certificates."""
    now = run.services.clock.now()
    for spec in specs:
        if not spec.has_windows:
            continue
        live = current_state_of(spec.name, run.services).live
        found = None if live is None else window_too_rare(spec, live, now)
        if found is not None:
            flag = f"--{found.setting.replace('_', '-')}"
            yield Finding(
                "certificate.window_too_rare",
                Severity.WARNING,
                spec.name,
                f"{too_rare_text(found)}; it is renewed outside it if need be",
                f"certctl edit {spec.name} {flag} WINDOW",
            )


_STATES: Mapping[str, Callable[[CertificateView], Finding]] = {
    "expired": _expired,
    "revoked": _revoked,
    "damaged": _damaged,
    "missing": _missing,
    "failing": _failing,
    "undeployed": _undeployed,
    "stopped": _stopped,
    "waiting": _waiting,
}


def _last_error(view: CertificateView) -> str:
    return f": {view.last_error.message}" if view.last_error else ""
