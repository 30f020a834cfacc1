"""What the schedulers have in common: the machine they are on, and what they say of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from certctl.errors import StoreError
from certctl.schedule.job import MARK, Job
from certctl.system.files import read_if_exists, remove_file, write_atomic
from certctl.system.process import run

READABLE = 0o644
_LIMIT = 1 << 20
_SECONDS = 30.0


@dataclass(frozen=True)
class Machine:
    """Where the files of cron and systemd are, who asks, and the commands that speak to them."""

    root: Path = Path("/")
    user_id: int = 0
    systemctl: tuple[str, ...] = ("systemctl",)
    crontab: tuple[str, ...] = ("crontab",)


@dataclass(frozen=True)
class Installed:
    """What is there for a job: the files (or the crontab) that say so.

    `enabled` is False where a timer is there that nothing starts, `current` where the files are not
    what `install` would write now. `next` is when it runs, None where that is not known.
    """

    scheduler: str
    where: tuple[str, ...]
    enabled: bool
    current: bool
    next: datetime | None


class Scheduler(Protocol):
    """One kind of scheduler. `install` and `remove` return what they did, a phrase each."""

    @property
    def name(self) -> str:
        """A word: `systemd`, `cron` or `crontab`."""
        ...

    def when(self, job: Job) -> str:
        """Return when it runs a job, in words."""
        ...

    def available(self) -> bool:
        """Return whether this machine has it, for who asks."""
        ...

    def content(self, job: Job) -> dict[str, str]:
        """Return what `install` would write, by its place."""
        ...

    def installed(self, job: Job, now: datetime) -> Installed | None:
        """Return what is there of ours."""
        ...

    def install(self, job: Job) -> list[str]:
        """Have the job run every hour. Raises `StoreError` where that fails half-way; to repeat it
        is safe.
        """
        ...

    def remove(self, job: Job) -> list[str]:
        """Have it run no more; nothing happens where nothing is there."""
        ...


def write_own_file(path: Path, text: str) -> list[str]:
    """Write a file of ours that everybody may read; return what was done."""
    if read(path) == text:
        return []
    write_atomic(path, text.encode(), READABLE)
    return [f"wrote {path}"]


def remove_own_file(path: Path) -> list[str]:
    """Remove a file if it is ours; return what was done."""
    if not is_ours(path):
        return []
    remove_file(path)
    return [f"removed {path}"]


def read(path: Path) -> str | None:
    """Return the text of a file, None where there is none."""
    data = read_if_exists(path, _LIMIT)
    return None if data is None else data.decode(errors="replace")


def is_ours(path: Path) -> bool:
    """Return whether `install` has written a file."""
    return MARK in (read(path) or "")


def run_command(command: Sequence[str]) -> str:
    """Run a command of the scheduler and return what it says, times in UTC. Raises `StoreError`."""
    context = {"LC_ALL": "C", "TZ": "UTC"}
    done = run(command, environment=context, timeout=_SECONDS, limit=_LIMIT)
    if done.exit_status != 0:
        said = " ".join(done.output.split())[-300:] or f"exit status {done.exit_status}"
        raise StoreError(
            f"{' '.join(command)} failed: {said}", hint="Run it by hand, then repeat this command."
        )
    return done.output
