"""A systemd service and its timer.

The service is confined as far as hooks bear it. A hook is whatever its owner wrote: what is left
open, and why, stands in the unit, for whoever wants to close more of it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from certctl.errors import StoreError
from certctl.schedule.job import MARK, Job
from certctl.schedule.scheduler import (
    Installed,
    Machine,
    read,
    remove_own_file,
    run_command,
    write_own_file,
)

_SERVICE = """\
# {mark}; `certctl schedule remove` takes it away.
# Changes of yours belong into a drop-in: systemctl edit {name}.service

[Unit]
Description=Renew the TLS certificates that are due, and deploy them (certctl)
Documentation=man:certctl-renew(1)
Wants=network-online.target
After=network-online.target nss-lookup.target

[Service]
Type=oneshot
ExecStart={command}
# certctl ends its hooks by itself, in good order. What a hook has left running, such as a proxy
# that it replaced, must live on.
KillMode=process
TimeoutStopSec=2min

# Hooks and reloads run inside these walls too, so what they commonly do is left open:
#  - systemctl (D-Bus), signals to daemons of other users, other users' processes in /proc
#    (pidof, pkill): CAP_KILL, no ProtectProc
#  - files for other users, in /etc, /var, /srv, /home and wherever else copies and webroots are:
#    CAP_CHOWN, CAP_FOWNER, CAP_FSETID, CAP_DAC_*; nothing but /usr, /boot and /efi is read-only,
#    and of /usr not /usr/local and the usual webroot of nginx
#  - nginx -t, haproxy -c and the like, which become other users and raise limits: CAP_SETUID,
#    CAP_SETGID, CAP_SYS_RESOURCE; sudo and su: CAP_AUDIT_WRITE
#  - port 80 for the stand-alone server: CAP_NET_BIND_SERVICE
#  - scripts in languages that compile as they run: no MemoryDenyWriteExecute
#  - files that others may read, as a hook run by hand makes them: UMask= stays 0022
# A hook that starts containers itself (not through a daemon's socket) needs
# RestrictNamespaces=no and SystemCallFilter= in a drop-in.
CapabilityBoundingSet=CAP_AUDIT_WRITE CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER
CapabilityBoundingSet=CAP_FSETID CAP_KILL CAP_NET_BIND_SERVICE CAP_SETGID CAP_SETUID
CapabilityBoundingSet=CAP_SYS_RESOURCE
KeyringMode=private
LockPersonality=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp={private_tmp}
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=yes
ReadWritePaths={home} -/usr/local -/usr/share/nginx
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
"""

_TIMER = """\
# {mark}; `certctl schedule remove` takes it away.

[Unit]
Description=Renew TLS certificates every hour (certctl)
Documentation=man:certctl-renew(1)

[Timer]
OnCalendar=hourly
# Always the same delay on one machine: runs stay an hour apart, and the world's machines do not
# all come at the full hour.
RandomizedDelaySec=30min
FixedRandomDelay=yes
AccuracySec=1min
# What a machine that was off has missed is made good at its start.
Persistent=true

[Install]
WantedBy=timers.target
"""

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,:@=")


class Systemd:
    """Implements `Scheduler` by units of the system."""

    name = "systemd"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._directory = machine.root / "etc" / "systemd" / "system"

    def available(self) -> bool:
        """Return whether systemd runs this machine (as sd_booted(3) finds it) and root asks."""
        running = (self._machine.root / "run" / "systemd" / "system").is_dir()
        return running and self._machine.user_id == 0

    def when(self, job: Job) -> str:  # noqa: ARG002 - the same for all
        return "every hour, at a time of this machine's own in its first half"

    def content(self, job: Job) -> dict[str, str]:
        service, timer = self._paths(job)
        return {str(service): service_unit(job), str(timer): timer_unit()}

    def installed(self, job: Job, now: datetime) -> Installed | None:  # noqa: ARG002 - it is asked
        content = self.content(job)
        there = [path for path in content if MARK in (read(Path(path)) or "")]
        if not there:
            return None
        return Installed(
            self.name,
            tuple(there),
            enabled=self._wanted(job).is_symlink(),
            current=all(read(Path(path)) == text for path, text in content.items()),
            next=self._next(job),
        )

    def install(self, job: Job) -> list[str]:
        done = [
            line
            for path, text in self.content(job).items()
            for line in write_own_file(Path(path), text)
        ]
        if done:
            self._systemctl("daemon-reload")
        if done or not self._wanted(job).is_symlink():
            self._systemctl("enable", "--now", f"{job.name}.timer")
            done.append(f"enabled and started {job.name}.timer")
        return done

    def remove(self, job: Job) -> list[str]:
        service, timer = self._paths(job)
        done: list[str] = []
        if self.available() and MARK in (read(timer) or ""):
            self._systemctl("disable", "--now", f"{job.name}.timer")
            done.append(f"stopped and disabled {job.name}.timer")
        files = [*remove_own_file(timer), *remove_own_file(service)]
        if files and self.available():
            self._systemctl("daemon-reload")
        return done + files

    def _paths(self, job: Job) -> tuple[Path, Path]:
        return self._directory / f"{job.name}.service", self._directory / f"{job.name}.timer"

    def _wanted(self, job: Job) -> Path:
        return self._directory / "timers.target.wants" / f"{job.name}.timer"

    def _systemctl(self, *words: str) -> str:
        return run_command([*self._machine.systemctl, *words])

    def _next(self, job: Job) -> datetime | None:
        """Return when the timer elapses, as systemd says; None where it does not say."""
        try:
            said = self._systemctl(
                *("show", f"{job.name}.timer", "--property=NextElapseUSecRealtime", "--value"),
            )
            _weekday, date, time, _zone = said.split()
            return datetime.fromisoformat(f"{date}T{time}").replace(tzinfo=UTC)
        except (StoreError, ValueError):
            return None


def service_unit(job: Job) -> str:
    """Return the text of the service."""
    temporary = any(job.home.is_relative_to(each) for each in ("/tmp", "/var/tmp"))  # noqa: S108
    return _SERVICE.format(
        mark=MARK,
        name=job.name,
        command=" ".join(quoted(each, command=True) for each in job.command),
        home=quoted(f"-{job.home}"),
        # Its own /tmp would hide a home directory there.
        private_tmp="no" if temporary else "yes",
    )


def timer_unit() -> str:
    """Return the text of the timer."""
    return _TIMER.format(mark=MARK)


def quoted(word: str, *, command: bool = False) -> str:
    """Return a word as a unit has it (systemd.syntax(7)): `%` doubled, and in a command line `$`
    too; quotes around it where it needs them.
    """
    text = word.replace("%", "%%")
    if command:
        text = text.replace("$", "$$")
    if _PLAIN.issuperset(word):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
