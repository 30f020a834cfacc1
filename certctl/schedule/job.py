"""What is to run every hour: certctl's own command line, and how it is called where it stands.

Pure: which scheduler there is, and how it wants this written, belongs to the other modules.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from certctl.errors import UsageError

MARK = "Written by `certctl schedule install`"
"""In each file that is ours, so that others' are never touched."""


@dataclass(frozen=True)
class Job:
    """Renewal for one home directory. `program` are the words that start certctl, the first one an
    absolute path; `name` is that of its files and units; `minute` is when in an hour cron runs it.
    """

    program: tuple[str, ...]
    home: Path
    name: str
    minute: int

    @property
    def command(self) -> tuple[str, ...]:
        """The command line; settings do not depend on what the scheduler's environment has."""
        return (*self.program, "--home", str(self.home), "renew")


def job_for(program: tuple[str, ...], home: Path, *, usual_home: Path, node: str) -> Job:
    """Return the job of a home directory; one that is not the usual one has a name of its own, so
    that two on a machine are scheduled beside each other.

    `node` is the name of the machine: so that the world's machines do not all come at the same
    minute, and this one always does. Raises `UsageError` for a path with a line break.
    """
    for each in (*program, str(home)):
        if not each.isprintable():
            raise UsageError(f"{each!r} cannot stand in a line of cron or of systemd")
    digest = hashlib.sha256(f"{node} {home}".encode()).hexdigest()
    name = "certctl"
    if home != usual_home:
        plain = re.sub(r"[^A-Za-z0-9]+", "-", str(home)).strip("-")[-40:].strip("-")
        own = hashlib.sha256(str(home).encode()).hexdigest()[:6]
        name = f"certctl-{plain}-{own}" if plain else f"certctl-{own}"
    return Job(program, home, name, int(digest, 16) % 60)
