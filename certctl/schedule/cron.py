"""Scheduling with cron: a file in `/etc/cron.d` for root, a crontab line for other users."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
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
from certctl.system.files import write_atomic
from certctl.system.process import run

SPREAD = "50s"
"""The longest random delay of a run that has certificates to renew, so that CAs do not see a peak
at each full minute. The minute itself differs between machines.
"""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DAEMONS = ("usr/sbin/cron", "usr/sbin/crond", "usr/bin/crond", "sbin/crond")
_LIMIT = 1 << 20
_TIMEOUT = 30.0

_FILE = """\
# {mark}; removed by `certctl schedule remove`.
# A run with nothing due prints nothing. cron sends any output by mail.
SHELL=/bin/sh
PATH={path}
{minute} * * * * root {command}
"""


class Cron:
    """Implements `Scheduler` with a file in `/etc/cron.d`."""

    name = "cron"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._directory = machine.root / "etc" / "cron.d"

    def available(self) -> bool:
        """Return whether the user is root and a cron that reads `/etc/cron.d` is installed."""
        root = self._machine.root
        daemon = any((root / each).exists() for each in _DAEMONS)
        return self._machine.user_id == 0 and daemon and self._directory.is_dir()

    def when(self, job: Job) -> str:
        return f"every hour, at minute {job.minute}"

    def content(self, job: Job) -> dict[str, str]:
        return {str(self._directory / job.name): cron_file(job)}

    def installed(self, job: Job, now: datetime) -> Installed | None:
        ((path, text),) = self.content(job).items()
        found = read(Path(path))
        if found is None or MARK not in found:
            return None
        return Installed(self.name, (path,), True, found == text, next_run(job, now))

    def install(self, job: Job) -> list[str]:
        ((path, text),) = self.content(job).items()
        return write_own_file(Path(path), text)

    def remove(self, job: Job) -> list[str]:
        return remove_own_file(self._directory / job.name)


class Crontab:
    """Implements `Scheduler` with lines in the user's crontab; other lines are not changed."""

    name = "crontab"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def available(self) -> bool:
        """Return whether the `crontab` command is installed."""
        listed = run([*self._machine.crontab, "-l"], environment={}, timeout=_TIMEOUT)
        return listed.exit_status not in {126, 127}

    def when(self, job: Job) -> str:
        return f"every hour, at minute {job.minute}"

    def content(self, job: Job) -> dict[str, str]:
        return {"crontab": "".join(f"{each}\n" for each in _block(job))}

    def installed(self, job: Job, now: datetime) -> Installed | None:
        lines = self._lines()
        own = [each for each, is_own in _marked(lines, job) if is_own]
        if not own:
            return None
        current = own == _block(job)
        return Installed(self.name, ("crontab",), True, current, next_run(job, now))

    def install(self, job: Job) -> list[str]:
        lines = self._lines()
        updated = [*self._others(lines, job), *_block(job)]
        if updated == lines:
            return []
        self._write(updated)
        return ["added a line to your crontab"]

    def remove(self, job: Job) -> list[str]:
        lines = self._lines()
        others = self._others(lines, job)
        if others == lines:
            return []
        self._write(others)
        return ["removed certctl's line from your crontab"]

    def runs_elsewhere(self, words: tuple[str, ...]) -> bool:
        """Return whether a line that `install` did not write contains all these words."""
        is_own = False
        for line in self._lines():
            if line.startswith(f"# {MARK}"):
                is_own = True
            elif is_own:
                is_own = False
            elif not line.lstrip().startswith("#") and all(each in line for each in words):
                return True
        return False

    @staticmethod
    def _others(lines: list[str], job: Job) -> list[str]:
        return [each for each, is_own in _marked(lines, job) if not is_own]

    def _lines(self) -> list[str]:
        """Return the lines of the crontab; empty if it does not exist or cannot be read."""
        command = f"exec {shlex.join([*self._machine.crontab, '-l'])} 2>/dev/null"
        listed = run(command, environment={}, timeout=_TIMEOUT, limit=_LIMIT)
        if listed.exit_status != 0:
            return []
        return listed.output.splitlines()

    def _write(self, lines: list[str]) -> None:
        size = sum(len(each) for each in lines)
        if any("\N{REPLACEMENT CHARACTER}" in each for each in lines) or size > _LIMIT // 2:
            raise StoreError(
                "your crontab cannot be changed safely: it is not plain text, or very large",
                hint="Add the line by hand. To print it, run: certctl schedule show",
            )
        with tempfile.TemporaryDirectory(prefix="certctl-") as directory:
            path = Path(directory, "crontab")
            write_atomic(path, "".join(f"{each}\n" for each in lines).encode())
            run_command([*self._machine.crontab, str(path)])


def cron_file(job: Job) -> str:
    """Return the contents of the file in `/etc/cron.d`."""
    return _FILE.format(mark=MARK, path=_PATH, minute=job.minute, command=cron_command(job))


def cron_command(job: Job) -> str:
    """Return the command line in crontab(5) syntax: quoted for the shell, with `%` escaped."""
    return shlex.join([*job.command, "--random-delay", SPREAD]).replace("%", "\\%")


def next_run(job: Job, now: datetime) -> datetime:
    """Return when cron next runs the job, in UTC. The minute is that of the local time, which some
    time zones shift by less than an hour.
    """
    local = now.astimezone()
    at = local.replace(minute=job.minute, second=0, microsecond=0)
    return (at if at > local else at + timedelta(hours=1)).astimezone(UTC)


def _block(job: Job) -> list[str]:
    return [f"# {MARK} for {job.home}:", f"{job.minute} * * * * {cron_command(job)}"]


def _marked(lines: list[str], job: Job) -> Iterator[tuple[str, bool]]:
    """Yield each line and whether it belongs to the job (the marker and the line after it do)."""
    is_own = 0
    for line in lines:
        if line == _block(job)[0]:
            is_own = 2
        yield line, is_own > 0
        is_own = max(is_own - 1, 0)
