"""The scheduler interface and what its implementations share: the machine and file handling."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from certctl.model.errors import StoreError
from certctl.model.lazy_dataclass import dataclass
from certctl.schedule.job import MARK, Job
from certctl.system.files import remove_file, write_atomic
from certctl.system.process import run
from certctl.system.reading import read_if_exists

READABLE = 0o644
_LIMIT = 1 << 20
_TIMEOUT = 30.0


@dataclass(frozen=True)
class Machine:
    """Where the files of cron and systemd are, the current user, and the commands that control
    cron and systemd.
    """

    root: Path = Path("/")
    user_id: int = 0
    systemctl: tuple[str, ...] = ("systemctl",)
    crontab: tuple[str, ...] = ("crontab",)


@dataclass(frozen=True)
class Installed:
    """What is installed for a job; `where` lists its files, or is `crontab`.

    `enabled` is False if the timer exists but is not enabled. `current` is False if the files
    differ from what `install` would write now. `next` is the time of the next run, None if unknown.
    """

    scheduler: str
    where: tuple[str, ...]
    enabled: bool
    current: bool
    next: datetime | None


class Scheduler(Protocol):
    """A kind of scheduler. `install` and `remove` return what they did, one phrase per action."""

    @property
    def name(self) -> str:
        """`systemd`, `cron` or `crontab`."""
        ...

    def when(self, job: Job) -> str:
        """Return when it runs a job, as a phrase."""
        ...

    def available(self) -> bool:
        """Return whether the current user can use it on this machine."""
        ...

    def content(self, job: Job) -> dict[str, str]:
        """Return what `install` would write, by path."""
        ...

    def installed(self, job: Job, now: datetime) -> Installed | None:
        """Return what is installed for the job; None if nothing is."""
        ...

    def install(self, job: Job) -> list[str]:
        """Schedule the job every hour. Raises `StoreError` if that fails; repeating it is safe."""
        ...

    def remove(self, job: Job) -> list[str]:
        """Unschedule the job; does nothing if it is not installed."""
        ...


def write_own_file(path: Path, text: str) -> list[str]:
    """Write a world-readable file unless it is up to date; return what was done."""
    if read(path) == text:
        return []
    write_atomic(path, text.encode(), READABLE)
    return [f"wrote {path}"]


def remove_own_file(path: Path) -> list[str]:
    """Remove a file if certctl wrote it; return what was done."""
    if not is_ours(path):
        return []
    remove_file(path)
    return [f"removed {path}"]


def read(path: Path) -> str | None:
    """Return the text of a file; None if it does not exist."""
    data = read_if_exists(path, _LIMIT)
    return None if data is None else data.decode(errors="replace")


def is_ours(path: Path) -> bool:
    """Return whether a file was written by `install`."""
    return MARK in (read(path) or "")


def run_command(command: Sequence[str]) -> str:
    """Run a command of the scheduler and return its output, with times in UTC. Raises
    `StoreError`.
    """
    environment = {"LC_ALL": "C", "TZ": "UTC"}
    completed = run(command, environment=environment, timeout=_TIMEOUT, limit=_LIMIT)
    if completed.exit_status != 0:
        output = " ".join(completed.output.split())[-300:]
        raise StoreError(
            f"{' '.join(command)} failed: {output or f'exit status {completed.exit_status}'}",
            hint="Run that command by hand to find the cause, then repeat this command.",
        )
    return completed.output
