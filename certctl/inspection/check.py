"""Check the state of certificates and services, for a monitoring plugin.

Certificates are checked from certctl's own records only, without querying a CA, so that ten
thousand of them take a moment. Services get a live check. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from certctl.engine.current import current_state_of, summary_of
from certctl.engine.run import Run
from certctl.engine.specs import load
from certctl.inspection.scheduled import INSTALL, MachineContext, is_renewed
from certctl.model.certificate import RenewalState, Version
from certctl.model.delivery import Deployment
from certctl.model.errors import CertctlError, PluginStatus
from certctl.model.events import Event
from certctl.model.lazy_dataclass import dataclass
from certctl.model.status import CertificateStatus
from certctl.rules.remembered_times import believed, in_future
from certctl.rules.thresholds import Threshold

_SEVERITY = (PluginStatus.CRITICAL, PluginStatus.WARNING, PluginStatus.UNKNOWN, PluginStatus.OK)


@dataclass(frozen=True)
class Limits:
    """Thresholds of the time left, and the longest acceptable time since the last unattended run of
    `renew` (None: no limit).
    """

    warning: Threshold
    critical: Threshold
    run_age: timedelta | None


@dataclass(frozen=True)
class Remaining:
    """The time left of `subject` (a certificate or a service) and its thresholds, in seconds."""

    subject: str
    seconds: float
    warning: float
    critical: float


@dataclass(frozen=True)
class Problem:
    """What is wrong with `subject`; `message` lists all reasons, most severe first. `code` is the
    stable code of the most severe one.
    """

    status: PluginStatus
    subject: str
    code: str
    message: str


@dataclass(frozen=True)
class CheckResult:
    """The result of a check. `waiting` are the certificates of which a new version waits for its
    deploy window, which is no problem. `run_age` is the time since the last unattended run of
    `renew`; None if there was none, or if only services were checked.
    """

    problems: tuple[Problem, ...]
    remaining: tuple[Remaining, ...]
    certificates: int = 0
    services: int = 0
    failing: int = 0
    undeployed: int = 0
    run_age: timedelta | None = None
    waiting: int = 0

    @property
    def status(self) -> PluginStatus:
        """The status of the most severe problem; UNKNOWN if nothing was checked."""
        if not (self.certificates or self.services):
            return PluginStatus.UNKNOWN
        found = [each.status for each in self.problems]
        return min(found, key=_SEVERITY.index, default=PluginStatus.OK)


@dataclass(frozen=True)
class _Result:
    """The result for one certificate or service; `issued` is when the live version was saved."""

    problem: Problem | None = None
    remaining: Remaining | None = None
    issued: datetime | None = None
    failing: bool = False
    undeployed: bool = False
    waiting: bool = False


def check(
    run: Run, texts: Sequence[str], limits: Limits, context: MachineContext | None = None
) -> CheckResult:
    """Check certificates by name and services by host; all certificates if `texts` is empty.
    `context` is where to look for a schedule; None: nowhere.

    Raises `UnknownCertificate`, `UsageError`, `StoreError` and `Interrupted`.
    """
    known = run.services.records.names()
    requested = list(dict.fromkeys(texts)) or list(known)
    managed = set(known).intersection(requested)
    names = [each for each in requested if each in managed]
    services = [each for each in requested if each not in managed]
    stopped = _stopped(run) if names else frozenset()
    results = [_certificate(each, limits, run, stopped=each in stopped) for each in names]
    results += [_service(each, limits, run) for each in services]
    problems = [each.problem for each in results if each.problem is not None]
    run_age = None
    if names:
        history, now = run.services.machine.history(), run.services.clock.now()
        run_age = now - history.runs[-1] if history.runs else None
        oldest = min((each.issued for each in results if each.issued is not None), default=now)
        scheduled = run_age is not None or context is None or is_renewed(context, run)
        waited = now - oldest if scheduled else None
        problems += _run_problems(run_age, waited, limits.run_age)
        if history.latest_in_future is not None:
            problems.append(_future_run(history.latest_in_future))
        if not texts and not problems and history.exit_status:
            problems.append(_failed_run(history.exit_status))
    problems.sort(key=lambda each: _SEVERITY.index(each.status))
    return CheckResult(
        problems=tuple(problems),
        remaining=tuple(each.remaining for each in results if each.remaining is not None),
        certificates=len(names),
        services=len(services),
        failing=sum(each.failing for each in results),
        undeployed=sum(each.undeployed for each in results),
        waiting=sum(each.waiting for each in results),
        run_age=run_age,
    )


# Certificates


def _stopped(run: Run) -> frozenset[str]:
    """Return the certificates whose renewal is turned off. Only specs that mention the setting are
    read, unless it is off by default.
    """
    suspects = run.services.records.find("autorenew")
    if not run.services.settings.flag("autorenew"):
        suspects = run.services.records.names()
    found: set[str] = set()
    for name in suspects:
        with suppress(CertctlError):  # one that cannot be read has a problem of its own
            if not load(run, name).autorenew:
                found.add(name)
    return frozenset(found)


def _certificate(name: str, limits: Limits, run: Run, *, stopped: bool) -> _Result:
    now = run.services.clock.now()
    try:
        run.services.records.check_spec(name)
        status = current_state_of(name, run.services)
        served = _served(status, run)
    except CertctlError as error:
        return _Result(Problem(PluginStatus.UNKNOWN, name, error.code, error.message))
    reasons: list[tuple[PluginStatus, str, str]] = []
    remaining = None
    if served is None:
        severity = PluginStatus.CRITICAL if status.renewal_state.failures else PluginStatus.WARNING
        reasons.append((severity, "certificate.missing", "it was never issued"))
    else:
        remaining = _remaining(name, served.not_after, served.facts.lifetime, limits, now)
        reasons += _of_expiry(remaining, served.not_after)
        if in_future(served.facts.not_before, now):
            start = f"{served.facts.not_before:%Y-%m-%d %H:%M} UTC"
            message = f"it is not valid before {start}; check the clock with `date`"
            reasons.append((PluginStatus.CRITICAL, "certificate.not_yet_valid", message))
    live = status.live
    if live is not None and live.number in status.renewal_state.revoked:
        reasons.append((PluginStatus.CRITICAL, "certificate.revoked", "it is revoked"))
    if status.damage is not None:
        message = f"its files are damaged: {status.damage}"
        reasons.append((PluginStatus.CRITICAL, "certificate.damaged", message))
    if stopped:
        reasons.append((PluginStatus.WARNING, "certificate.stopped", "its renewal is turned off"))
    if status.undeployed:
        message = f"version {status.deployment.wanted} is not deployed yet"
        message += _failures(status.deployment)
        reasons.append((PluginStatus.WARNING, "certificate.undeployed", message))
    if status.renewal_state.failures:
        message = f"its renewal fails{_failures(status.renewal_state)}"
        reasons.append((PluginStatus.WARNING, "certificate.failing", message))
    return _Result(
        _problem(name, reasons),
        remaining,
        issued=_known_since(live, now) if live is not None else None,
        failing=bool(status.renewal_state.failures),
        undeployed=status.undeployed,
        waiting=status.waiting is not None,
    )


def _known_since(version: Version, now: datetime) -> datetime | None:
    """Return when a version was issued, as far as a clock that was ahead did not write it."""
    return believed(version.issued, now) or believed(version.facts.not_before, now)


def _served(status: CertificateStatus, run: Run) -> Version | None:
    """Return the version that clients are served: while a deployment is pending, the version that
    was deployed last.
    """
    deployed, live = status.deployment.deployed, status.live
    if not status.undeployed or deployed is None or (live is not None and live.number == deployed):
        return live
    return summary_of(status.name, run.services).versions.get(deployed, live)


def _failures(state: RenewalState | Deployment) -> str:
    error, times = state.last_error, state.failures
    count = f" ({times} times)" if times > 1 else ""
    return f"{count}: {error.message} [{error.code}]" if error is not None else count


# Services


def _service(text: str, limits: Limits, run: Run) -> _Result:
    from certctl.operations.verify import verify  # noqa: PLC0415 - slow, and for services only

    # A check that runs every minute must not fill the audit trail.
    quiet = replace(run.services, emit=_discard)
    with Run(quiet, run.stop) as quiet_run:
        seen = verify(quiet_run, [text]).seen
    now = run.services.clock.now()
    reasons: list[tuple[PluginStatus, str, str]] = []
    remaining: list[Remaining] = []
    for each in seen:
        at = f"{each.address}: " if len(seen) > 1 and each.address else ""
        if each.facts is not None:
            left = _remaining(text, each.facts.not_after, each.facts.lifetime, limits, now)
            remaining.append(left)
            if each.problem is None:
                reasons += _of_expiry(left, each.facts.not_after, at)
        if each.problem is not None:
            reasons.append((PluginStatus.CRITICAL, "verify.failed", f"{at}{each.problem}"))
    least = min(remaining, key=lambda each: each.seconds, default=None)
    return _Result(_problem(text, reasons), least)


def _discard(_event: Event) -> None:
    """Ignore an event."""


# Certificates and services


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
        severity = PluginStatus.CRITICAL if critical else PluginStatus.WARNING
        message = f"{at}it expires in {_words(left.seconds)}, at {end}"
        yield severity, "certificate.expiring", message


def _problem(subject: str, reasons: Sequence[tuple[PluginStatus, str, str]]) -> Problem | None:
    if not reasons:
        return None
    ordered = sorted(reasons, key=lambda each: _SEVERITY.index(each[0]))
    status, code, _ = ordered[0]
    messages = dict.fromkeys(message for _, _, message in ordered)
    return Problem(status, subject, code, "; ".join(messages))


# Runs


def _run_problems(
    run_age: timedelta | None, waited: timedelta | None, longest: timedelta | None
) -> Iterator[Problem]:
    """Yield a problem if `renew` does not run unattended. If it is scheduled, but has not run yet,
    the age of the oldest certificate (`waited`) counts, so that a new installation has some time to
    get there; `waited` is None if nothing is scheduled.
    """
    if longest is None:
        return
    if run_age is None and waited is None:
        message = f"nothing runs renew on a schedule; to schedule it: {INSTALL}"
        yield Problem(PluginStatus.WARNING, "renew", "schedule.missing", message)
        return
    age = waited if run_age is None else run_age
    if age is None or age <= longest:
        return
    if run_age is None:
        message = "it has never run unattended; to schedule it: certctl schedule install"
        yield Problem(PluginStatus.WARNING, "renew", "schedule.missing", message)
    else:
        message = f"its last unattended run was {_words(run_age.total_seconds())} ago"
        yield Problem(PluginStatus.WARNING, "renew", "schedule.idle", message)


def _future_run(at: datetime) -> Problem:
    message = (
        f"an unattended run is dated in the future, {at:%Y-%m-%d %H:%M} UTC: the clock was wrong"
        " then, or is wrong now; check it with: date; timedatectl"
    )
    return Problem(PluginStatus.WARNING, "renew", "schedule.future", message)


def _failed_run(exit_status: int) -> Problem:
    message = f"its last unattended run ended with exit status {exit_status}"
    return Problem(PluginStatus.WARNING, "renew", "schedule.failed", message)


def _words(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds // 60)} minutes"
