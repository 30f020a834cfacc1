"""The hourly job: certctl's command line, the name of its files and units, and the minute.

Pure functions; the other modules handle the schedulers and their file formats.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from certctl.model.errors import UsageError
from certctl.model.lazy_dataclass import dataclass

MARK = "Written by `certctl schedule install`"
"""Marks the files that certctl wrote; files without it are never changed."""

ISOLATED = ("-I", "-m", "certctl")
"""How Python runs certctl so that neither the working directory, nor PYTHON* variables, nor the
user's own packages decide which code is loaded.
"""


@dataclass(frozen=True)
class Job:
    """Renewal for one home directory. `program`: the words that start certctl, the first an
    absolute path; `name`: the name of the files and units; `minute`: when cron runs it each hour.
    """

    program: tuple[str, ...]
    home: Path
    name: str
    minute: int

    @property
    def command(self) -> tuple[str, ...]:
        """The command line, which does not depend on the scheduler's environment."""
        return (*self.program, "--home", str(self.home), "renew")


def job_for(program: tuple[str, ...], home: Path, *, default_home: Path, node: str) -> Job:
    """Return the job of a home directory. A non-default home directory gets its own job name, so
    that several can be scheduled on one machine.

    `node` is the machine's host name; the minute is derived from it, so that it is stable on one
    machine and differs between machines. Raises `UsageError` for a path with a line break.
    """
    for each in (*program, str(home)):
        if not each.isprintable():
            raise UsageError(
                f"the path {each!r} contains characters that cron and systemd files cannot contain",
                hint="Use a path without line breaks and control characters.",
            )
    digest = hashlib.sha256(f"{node} {home}".encode()).hexdigest()
    name = "certctl"
    if home != default_home:
        readable = re.sub(r"[^A-Za-z0-9]+", "-", str(home)).strip("-")[-40:].strip("-")
        suffix = hashlib.sha256(str(home).encode()).hexdigest()[:6]
        name = f"certctl-{readable}-{suffix}" if readable else f"certctl-{suffix}"
    return Job(program, home, name, int(digest, 16) % 60)
