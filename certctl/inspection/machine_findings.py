"""Findings of `doctor` about the machine: disk space, what runs `renew`, software versions."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from importlib import metadata
from pathlib import Path

from certctl.engine.current import current_state_of
from certctl.engine.run import Run
from certctl.inspection.scheduled import INSTALL, RUN_EXPECTED, MachineContext, timers
from certctl.model.errors import CertctlError
from certctl.model.run import Finding, Severity
from certctl.model.spec import CertificateSpec
from certctl.rules.renewal_windows import runs_too_rare
from certctl.system.space import DiskSpace
from certctl.system.timers import Timer
from certctl.version import VERSION

LITTLE_SPACE = 100 * 1024 * 1024
NO_SPACE = 10 * 1024 * 1024
FEW_FILES = 1000

_LIBRARIES = ("acme", "cryptography", "dnspython", "requests")


def space_findings(home: Path, space: DiskSpace | None) -> Iterator[Finding]:
    """Yield findings if disk space or inodes run low."""
    if space is None:
        return
    if space.free < LITTLE_SPACE:
        yield Finding(
            "disk.space",
            Severity.ERROR if space.free < NO_SPACE else Severity.WARNING,
            str(home),
            f"only {space.free // (1024 * 1024)} MiB are free on its file system",
            "Free disk space. A certificate with its key takes 20 KiB; the log grows.",
        )
    if space.files is not None and space.files < FEW_FILES:
        yield Finding(
            "disk.files",
            Severity.ERROR if space.files < FEW_FILES // 10 else Severity.WARNING,
            str(home),
            f"only {space.files} inodes are free on its file system",
            "Remove small files there; df -i shows the usage.",
        )


def schedule_findings(
    context: MachineContext, specs: Sequence[CertificateSpec], run: Run
) -> Iterator[Finding]:
    """Yield findings if `renew` is not scheduled, or runs too rarely; none without certificates to
    renew.
    """
    renewed = [each for each in specs if each.autorenew]
    if not renewed:
        return
    history = run.services.machine.history()
    if history.latest_in_future is not None:
        yield Finding(
            "schedule.future",
            Severity.WARNING,
            "renew",
            "a scheduled run of `certctl renew` is dated in the future,"
            f" {history.latest_in_future:%Y-%m-%d %H:%M} UTC: the clock of this machine was wrong"
            " then, or is wrong now",
            "Compare the clock with the right time: date; timedatectl",
        )
    latest = max(history.runs, default=None)
    idle = None if latest is None else run.services.clock.now() - latest
    if idle is None or idle >= RUN_EXPECTED:
        if history.external:
            yield _external(idle)
        else:
            yield from _not_running(context, idle)
    elif history.interval is not None:
        yield from _cadence(history.interval, renewed, run)


def _not_running(context: MachineContext, idle: timedelta | None) -> Iterator[Finding]:
    """Yield why `renew` does not run on a schedule."""
    found = timers(context)
    if not found:
        yield Finding(
            "schedule.missing",
            Severity.WARNING,
            "renew",
            "nothing runs `certctl renew` on a schedule: no systemd timer and no cron job was found"
            f"{_last_run(idle)}",
            INSTALL,
        )
        return
    for each in found:
        if not each.enabled:
            yield _disabled(each, context)
    enabled = [each for each in found if each.enabled]
    if enabled:
        yield Finding(
            "schedule.idle",
            Severity.INFO if idle is None else Severity.WARNING,
            enabled[0].where,
            "it should run `certctl renew`"
            f"{_last_run(idle) or ', but there has been no scheduled run yet'}",
            "Check the log of cron or of the timer (journalctl -u certctl), and that it uses this"
            " home directory.",
        )


def _external(idle: timedelta | None) -> Finding:
    return Finding(
        "schedule.idle",
        Severity.INFO if idle is None else Severity.WARNING,
        "renew",
        "something else should run `certctl renew` (certctl schedule external)"
        f"{_last_run(idle) or ', but there has been no scheduled run yet'}",
        "Check what runs it, and that it uses this home directory.",
    )


def _disabled(timer: Timer, context: MachineContext) -> Finding:
    home = context.variables.get("HOME")
    user = " --user" if home and Path(timer.where).is_relative_to(home) else ""
    return Finding(
        "schedule.disabled",
        Severity.WARNING,
        timer.where,
        "this timer is installed, but not enabled",
        f"systemctl{user} enable --now {Path(timer.where).name}",
    )


def _cadence(interval: timedelta, specs: Sequence[CertificateSpec], run: Run) -> Iterator[Finding]:
    """Yield a finding if runs at this interval are too rare for some certificates."""
    late: dict[str, tuple[timedelta, str]] = {}
    for spec in specs:
        with suppress(CertctlError):  # an unreadable certificate has its own finding
            status = current_state_of(spec.name, run.services)
            now = run.services.clock.now()
            shortfall = status.current and runs_too_rare(
                spec, status.current, status.renewal_state, interval, now
            )
            if shortfall:
                late[spec.name] = shortfall
    if not late:
        return
    name = min(late, key=lambda each: late[each][0])
    time, what = late[name]
    more = f" (and {len(late) - 1} more)" if len(late) > 1 else ""
    yield Finding(
        "schedule.interval",
        Severity.WARNING,
        name,
        f"`certctl renew` runs every {_hours(interval)}, but {what} is only {_hours(time)}"
        f" long{more}",
        INSTALL,
    )


def _last_run(idle: timedelta | None) -> str:
    return "" if idle is None else f"; the last scheduled run was {idle.days} days ago"


def _hours(duration: timedelta) -> str:
    return f"{duration.total_seconds() / 3600:.1f} hours"


def version_findings() -> Iterator[Finding]:
    """Yield the software versions that a bug report should include."""
    libraries = ", ".join(f"{each} {_version(each)}" for each in _LIBRARIES)
    yield Finding(
        "versions",
        Severity.INFO,
        "certctl",
        f"certctl {VERSION}, Python {sys.version.split()[0]}, {ssl.OPENSSL_VERSION}, {libraries};"
        f" {os.uname().sysname} {os.uname().release}",
    )


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "(unknown)"
