"""How the machine is that certctl runs on: room on the disk, what runs `renew`, versions; for
`doctor`.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import metadata
from pathlib import Path

from certctl.errors import CertctlError
from certctl.models import CertificateSpec, Finding, Severity
from certctl.operations.run import Run
from certctl.operations.schedule import RENEW_COMMAND
from certctl.renewal import interval_too_long
from certctl.system.space import DiskSpace
from certctl.system.timers import Timer, timers_for, user_crontab
from certctl.version import VERSION

RUN_EXPECTED = timedelta(days=2)
"""How long `renew` may not have run by itself before that is a finding."""

LITTLE_SPACE = 100 * 1024 * 1024
NO_SPACE = 10 * 1024 * 1024
FEW_FILES = 1000

_EVERY_HOUR = "certctl schedule install"
_LIBRARIES = ("acme", "cryptography", "dnspython", "requests")


@dataclass(frozen=True)
class MachineContext:
    """What `doctor` knows of the world around it: the caller's variables, the root of the file
    system that cron and systemd read, and whether this user's own crontab is asked for.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    root: Path = Path("/")
    ask_crontab: bool = True


def space_findings(home: Path, space: DiskSpace | None) -> Iterator[Finding]:
    """Yield whether there is room left for certificates."""
    if space is None:
        return
    if space.free < LITTLE_SPACE:
        yield Finding(
            "disk.space",
            Severity.ERROR if space.free < NO_SPACE else Severity.WARNING,
            str(home),
            f"{space.free // (1024 * 1024)} MiB are free on its file system",
            "Free some; a certificate with its key takes 20 KiB, the log grows.",
        )
    if space.files is not None and space.files < FEW_FILES:
        yield Finding(
            "disk.files",
            Severity.ERROR if space.files < FEW_FILES // 10 else Severity.WARNING,
            str(home),
            f"its file system has room for {space.files} more files (inodes)",
            "Remove many small files there (df -i tells).",
        )


def schedule_findings(
    context: MachineContext, specs: Sequence[CertificateSpec], run: Run
) -> Iterator[Finding]:
    """Yield whether `renew` runs by itself, and often enough, as far as there is anything to
    renew.
    """
    renewed = [each for each in specs if each.autorenew]
    if not renewed:
        return
    history = run.services.store.history()
    latest = max(history.runs, default=None)
    idle = None if latest is None else run.services.clock.now() - latest
    if idle is None or idle >= RUN_EXPECTED:
        yield from _without_runs(context, idle)
    elif history.interval is not None:
        yield from _cadence(history.interval, renewed, run)


def _without_runs(context: MachineContext, idle: timedelta | None) -> Iterator[Finding]:
    """Yield why `renew` does not run by itself."""
    timers = _timers(context)
    if not timers:
        yield Finding(
            "schedule.missing",
            Severity.WARNING,
            "renew",
            "nothing runs `certctl renew` from time to time: no systemd timer, no cron job was"
            f" found{_lately(idle)}",
            _EVERY_HOUR,
        )
        return
    for each in timers:
        if not each.enabled:
            yield _disabled(each, context)
    enabled = [each for each in timers if each.enabled]
    if enabled:
        yield Finding(
            "schedule.idle",
            Severity.INFO if idle is None else Severity.WARNING,
            enabled[0].where,
            f"it should run `certctl renew`{_lately(idle) or ', which has not run by itself yet'}",
            "See the log of cron or of the timer (journalctl -u certctl), and that its home"
            " directory is this one.",
        )


def _disabled(timer: Timer, context: MachineContext) -> Finding:
    home = context.variables.get("HOME")
    user = " --user" if home and Path(timer.where).is_relative_to(home) else ""
    return Finding(
        "schedule.disabled",
        Severity.WARNING,
        timer.where,
        "this timer is there, but not enabled",
        f"systemctl{user} enable --now {Path(timer.where).name}",
    )


def _cadence(interval: timedelta, specs: Sequence[CertificateSpec], run: Run) -> Iterator[Finding]:
    """Yield the certificates that runs at this interval would renew late."""
    late: dict[str, tuple[timedelta, str]] = {}
    for spec in specs:
        with suppress(CertctlError):  # one that cannot be read is told of by itself
            status = run.services.store.status(spec.name)
            seldom = status.live and interval_too_long(status.live, status.renewal_state, interval)
            if seldom:
                late[spec.name] = seldom
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
        _EVERY_HOUR,
    )


def _timers(context: MachineContext) -> list[Timer]:
    home = context.variables.get("HOME")
    units = Path(home) / ".config" / "systemd" / "user" if home else None
    own = user_crontab(RENEW_COMMAND) if context.ask_crontab else None
    return [
        *timers_for(RENEW_COMMAND, root=context.root, user_units=units),
        *([own] if own is not None else []),
    ]


def _lately(idle: timedelta | None) -> str:
    return "" if idle is None else f", and it last ran by itself {idle.days} days ago"


def _hours(duration: timedelta) -> str:
    return f"{duration.total_seconds() / 3600:.1f} hours"


def version_findings() -> Iterator[Finding]:
    """Yield the versions of what does the work, which whoever reports a problem is asked for."""
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
