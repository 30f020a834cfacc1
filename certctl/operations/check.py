"""Check: whether all is well, in the words of a monitoring plugin.

Looks at what is remembered, and at nothing else, so that ten thousand certificates take a moment
and no CA is asked; a service, by its host, is looked at on the wire. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from certctl.errors import CertctlError, PluginStatus
from certctl.events import Event
from certctl.models import CertificateStatus, Deployment, RenewalState, Version
from certctl.operations.run import Run
from certctl.thresholds import Threshold

_GRAVITY = (PluginStatus.CRITICAL, PluginStatus.WARNING, PluginStatus.UNKNOWN, PluginStatus.OK)


@dataclass(frozen=True)
class Limits:
    """From when on less time left is a warning, and critical; and how long ago the latest run of
    `renew` by itself may be, None for ever.
    """

    warning: Threshold
    critical: Threshold
    run_age: timedelta | None


@dataclass(frozen=True)
class Remaining:
    """The time that `subject` (a certificate or a service) has left, and its limits, in seconds."""

    subject: str
    seconds: float
    warning: float
    critical: float


@dataclass(frozen=True)
class Problem:
    """What is wrong with `subject`, in phrases with the gravest first; `code` is a stable word."""

    status: PluginStatus
    subject: str
    code: str
    message: str


@dataclass(frozen=True)
class CheckResult:
    """All that was found; `run_age` is how long ago `renew` last ran by itself, None where it never
    did or was not asked about.
    """

    problems: tuple[Problem, ...]
    remaining: tuple[Remaining, ...]
    certificates: int = 0
    services: int = 0
    failing: int = 0
    undeployed: int = 0
    run_age: timedelta | None = None

    @property
    def status(self) -> PluginStatus:
        """The gravest of all problems; unknown where there was nothing to look at."""
        if not (self.certificates or self.services):
            return PluginStatus.UNKNOWN
        found = [each.status for each in self.problems]
        return min(found, key=_GRAVITY.index, default=PluginStatus.OK)


@dataclass(frozen=True)
class _Look:
    """What one certificate or service came to; `issued` is when the live version was saved."""

    problem: Problem | None = None
    remaining: Remaining | None = None
    issued: datetime | None = None
    failing: bool = False
    undeployed: bool = False


def check(run: Run, texts: Sequence[str], limits: Limits) -> CheckResult:
    """Check the certificates of ours that are named, all of them where nothing is, and services by
    their host. Raises `UnknownCertificate`, `UsageError`, `StoreError` and `Interrupted`.
    """
    store = run.services.store
    known = store.names()
    asked = list(dict.fromkeys(texts)) or list(known)
    ours = set(known).intersection(asked)
    names = [each for each in asked if each in ours]
    services = [each for each in asked if each not in ours]
    looks = [_certificate(each, limits, run) for each in names]
    looks += [_service(each, limits, run) for each in services]
    found = [each.problem for each in looks if each.problem is not None]
    run_age = None
    if names:
        history, now = store.history(), run.services.clock.now()
        run_age = now - history.runs[-1] if history.runs else None
        oldest = min((each.issued for each in looks if each.issued is not None), default=now)
        found += _of_runs(run_age, now - oldest, limits.run_age)
        if not texts and not found and history.exit_status:
            found.append(_failed_run(history.exit_status))
    found.sort(key=lambda each: _GRAVITY.index(each.status))
    return CheckResult(
        problems=tuple(found),
        remaining=tuple(each.remaining for each in looks if each.remaining is not None),
        certificates=len(names),
        services=len(services),
        failing=sum(each.failing for each in looks),
        undeployed=sum(each.undeployed for each in looks),
        run_age=run_age,
    )


# Certificates of ours


def _certificate(name: str, limits: Limits, run: Run) -> _Look:
    store, now = run.services.store, run.services.clock.now()
    try:
        status = store.status(name)
        served = _served(status, run)
    except CertctlError as error:
        return _Look(Problem(PluginStatus.UNKNOWN, name, error.code, error.message))
    reasons: list[tuple[PluginStatus, str, str]] = []
    remaining = None
    if served is None:
        gravity = PluginStatus.CRITICAL if status.renewal_state.failures else PluginStatus.WARNING
        reasons.append((gravity, "certificate.missing", "it was never issued"))
    else:
        remaining = _remaining(name, served.facts.not_after, served.facts.lifetime, limits, now)
        reasons += _of_expiry(remaining, served.facts.not_after)
    live = status.live
    if live is not None and live.number in status.renewal_state.revoked:
        reasons.append((PluginStatus.CRITICAL, "certificate.revoked", "it is revoked"))
    if status.undeployed:
        reasons.append((PluginStatus.WARNING, "certificate.undeployed", _owed(status)))
    if status.renewal_state.failures:
        words = f"its renewal fails{_how_often(status.renewal_state)}"
        reasons.append((PluginStatus.WARNING, "certificate.failing", words))
    return _Look(
        _problem(name, reasons),
        remaining,
        issued=live.issued if live is not None else None,
        failing=bool(status.renewal_state.failures),
        undeployed=status.undeployed,
    )


def _served(status: CertificateStatus, run: Run) -> Version | None:
    """Return the version that visitors get: the one deployed last, where the live one is owed."""
    deployed, live = status.deployment.deployed, status.live
    if not status.undeployed or deployed is None or (live is not None and live.number == deployed):
        return live
    versions = run.services.store.versions(status.name)
    return next((each for each in versions if each.number == deployed), live)


def _owed(status: CertificateStatus) -> str:
    return f"version {status.deployment.wanted} is not deployed{_how_often(status.deployment)}"


def _how_often(renewal_state: RenewalState | Deployment) -> str:
    error, times = renewal_state.last_error, renewal_state.failures
    often = f" ({times} times)" if times > 1 else ""
    return f"{often}: {error.message} [{error.code}]" if error is not None else often


# Services


def _service(text: str, limits: Limits, run: Run) -> _Look:
    from certctl.operations.verify import verify  # noqa: PLC0415 - slow, and for services only

    # Who looks every minute wants no line of it in the audit trail.
    quiet = replace(run.services, emit=_say_nothing)
    with Run(quiet, run.stop) as aside:
        seen = verify(aside, [text]).seen
    now = run.services.clock.now()
    reasons: list[tuple[PluginStatus, str, str]] = []
    found: list[Remaining] = []
    for each in seen:
        at = f"{each.address}: " if len(seen) > 1 and each.address else ""
        if each.facts is not None:
            left = _remaining(text, each.facts.not_after, each.facts.lifetime, limits, now)
            found.append(left)
            if each.problem is None:
                reasons += _of_expiry(left, each.facts.not_after, at)
        if each.problem is not None:
            reasons.append((PluginStatus.CRITICAL, "verify.failed", f"{at}{each.problem}"))
    least = min(found, key=lambda each: each.seconds, default=None)
    return _Look(_problem(text, reasons), least)


def _say_nothing(_event: Event) -> None:
    """What becomes of events here."""


# Both


def _remaining(
    subject: str, not_after: datetime, lifetime: timedelta, limits: Limits, now: datetime
) -> Remaining:
    return Remaining(
        subject,
        (not_after - now).total_seconds(),
        limits.warning.of(lifetime).total_seconds(),
        limits.critical.of(lifetime).total_seconds(),
    )


def _of_expiry(
    left: Remaining, not_after: datetime, at: str = ""
) -> Iterator[tuple[PluginStatus, str, str]]:
    end = f"{not_after:%Y-%m-%d %H:%M} UTC"
    if left.seconds <= 0:
        yield PluginStatus.CRITICAL, "certificate.expired", f"{at}it expired at {end}"
    elif left.seconds < max(left.critical, left.warning):
        critical = left.seconds < left.critical
        gravity = PluginStatus.CRITICAL if critical else PluginStatus.WARNING
        words = f"{at}it expires in {_words(left.seconds)}, at {end}"
        yield gravity, "certificate.expiring", words


def _problem(subject: str, reasons: Sequence[tuple[PluginStatus, str, str]]) -> Problem | None:
    if not reasons:
        return None
    ordered = sorted(reasons, key=lambda each: _GRAVITY.index(each[0]))
    status, code, _ = ordered[0]
    words = dict.fromkeys(message for _, _, message in ordered)
    return Problem(status, subject, code, "; ".join(words))


# Runs


def _of_runs(
    run_age: timedelta | None, certificate_age: timedelta, longest: timedelta | None
) -> Iterator[Problem]:
    """Yield whether `renew` runs by itself; where it never did, new certificates have some time."""
    if longest is None or (certificate_age if run_age is None else run_age) <= longest:
        return
    if run_age is None:
        words = "it has never run by itself (see: certctl schedule install)"
        yield Problem(PluginStatus.WARNING, "renew", "schedule.missing", words)
    else:
        words = f"it last ran by itself {_words(run_age.total_seconds())} ago"
        yield Problem(PluginStatus.WARNING, "renew", "schedule.idle", words)


def _failed_run(exit_status: int) -> Problem:
    words = f"its last run by itself ended with exit status {exit_status}"
    return Problem(PluginStatus.WARNING, "renew", "schedule.failed", words)


def _words(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds // 60)} minutes"
