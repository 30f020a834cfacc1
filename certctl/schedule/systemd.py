"""A systemd service and its timer.

The service is sandboxed as far as is possible without breaking common hooks. Comments in the unit
explain what is left open and why, for administrators who want to restrict it further.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from certctl.model.errors import StoreError
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
# {mark}; removed by `certctl schedule remove`.
# Put your own changes into a drop-in: systemctl edit {name}.service

[Unit]
Description=Renew the TLS certificates that are due, and deploy them (certctl)
Documentation=man:certctl-renew(1)
Wants=network-online.target
After=network-online.target nss-lookup.target

[Service]
Type=oneshot
ExecStart={command}
# certctl terminates its hooks itself. Processes that a hook left running on purpose, such as a
# restarted proxy, must keep running.
KillMode=process
TimeoutStopSec=2min

# Hooks and reload commands run in this sandbox too, so what they commonly need is allowed:
#  - systemctl (D-Bus), signals to daemons of other users, other users' processes in /proc
#    (pidof, pkill): CAP_KILL, no ProtectProc
#  - files for other users, in /etc, /var, /srv, /home and other places for copies and webroots:
#    CAP_CHOWN, CAP_FOWNER, CAP_FSETID, CAP_DAC_*; only /usr, /boot and /efi are read-only, except
#    /usr/local and nginx's default webroot
#  - nginx -t, haproxy -c and the like, which change users and raise limits: CAP_SETUID,
#    CAP_SETGID, CAP_SYS_RESOURCE; sudo and su: CAP_AUDIT_WRITE
#  - port 80 for the standalone server: CAP_NET_BIND_SERVICE
#  - scripts in languages with a JIT compiler: no MemoryDenyWriteExecute
#  - files readable by other users, as if the hook were run by hand: UMask= stays 0022
# A hook that starts containers itself (not through a daemon's socket) needs
# RestrictNamespaces=no and SystemCallFilter= in a drop-in.
CapabilityBoundingSet=CAP_AUDIT_WRITE CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER
CapabilityBoundingSet=CAP_FSETID CAP_KILL CAP_NET_BIND_SERVICE CAP_SETGID CAP_SETUID
CapabilityBoundingSet=CAP_SYS_RESOURCE
KeyringMode=private
# A core dump would contain private keys.
LimitCORE=0
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
# {mark}; removed by `certctl schedule remove`.

[Unit]
Description=Renew TLS certificates every hour (certctl)
Documentation=man:certctl-renew(1)

[Timer]
OnCalendar=hourly
# The delay is fixed for each machine: runs are one hour apart, but different machines do not all
# contact the CA on the hour.
RandomizedDelaySec=30min
FixedRandomDelay=yes
AccuracySec=1min
# A run that was missed while the machine was off is made up for at boot.
Persistent=true

[Install]
WantedBy=timers.target
"""

_UNQUOTED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,:@=")


class Systemd:
    """Implements `Scheduler` with a system service and timer."""

    name = "systemd"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._directory = machine.root / "etc" / "systemd" / "system"

    def available(self) -> bool:
        """Return whether systemd is the init system (see sd_booted(3)) and the user is root."""
        running = (self._machine.root / "run" / "systemd" / "system").is_dir()
        return running and self._machine.user_id == 0

    def when(self, job: Job) -> str:  # noqa: ARG002 - the same for all
        return "every hour, at a fixed time in the first half hour"

    def content(self, job: Job) -> dict[str, str]:
        service, timer = self._paths(job)
        return {str(service): service_unit(job), str(timer): timer_unit()}

    def installed(self, job: Job, now: datetime) -> Installed | None:  # noqa: ARG002 - systemd knows it
        content = self.content(job)
        found = [path for path in content if MARK in (read(Path(path)) or "")]
        if not found:
            return None
        return Installed(
            self.name,
            tuple(found),
            enabled=self._enabling_link(job).is_symlink(),
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
        if done or not self._enabling_link(job).is_symlink():
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

    def _enabling_link(self, job: Job) -> Path:
        return self._directory / "timers.target.wants" / f"{job.name}.timer"

    def _systemctl(self, *arguments: str) -> str:
        return run_command([*self._machine.systemctl, *arguments])

    def _next(self, job: Job) -> datetime | None:
        """Return when the timer next elapses according to systemd; None if unknown."""
        try:
            output = self._systemctl(
                *("show", f"{job.name}.timer", "--property=NextElapseUSecRealtime", "--value"),
            )
            _weekday, date, time, _zone = output.split()
            return datetime.fromisoformat(f"{date}T{time}").replace(tzinfo=UTC)
        except (StoreError, ValueError):
            return None


def service_unit(job: Job) -> str:
    """Return the contents of the service unit."""
    temporary = any(job.home.is_relative_to(each) for each in ("/tmp", "/var/tmp"))  # noqa: S108
    return _SERVICE.format(
        mark=MARK,
        name=job.name,
        command=" ".join(quoted(each, command=True) for each in job.command),
        home=quoted(f"-{job.home}"),
        # A private /tmp would hide a home directory in /tmp.
        private_tmp="no" if temporary else "yes",
    )


def timer_unit() -> str:
    """Return the contents of the timer unit."""
    return _TIMER.format(mark=MARK)


def quoted(word: str, *, command: bool = False) -> str:
    """Return a word in the syntax of units (systemd.syntax(7)): `%` is doubled, `$` too in a
    command line, and quotes are added if needed.
    """
    text = word.replace("%", "%%")
    if command:
        text = text.replace("$", "$$")
    if _UNQUOTED.issuperset(word):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
