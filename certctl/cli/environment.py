"""What a process gets from its environment: streams, variables, working directory, user.

Tests pass their own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from certctl.model.lazy_dataclass import dataclass
from certctl.rules.paths import SYSTEM_HOME, UNREACHABLE


@dataclass(frozen=True)
class Environment:
    """The environment of one command; `directory` is `UNREACHABLE` if it cannot be determined.
    `system_home` is root's home directory of certctl.
    """

    stdin: TextIO
    stdout: TextIO
    stderr: TextIO
    variables: Mapping[str, str]
    directory: Path
    user_id: int
    system_home: Path = SYSTEM_HOME


def of_this_process() -> Environment:
    """Return the environment of this process; closed streams are replaced by /dev/null."""
    return Environment(
        stdin=sys.stdin or Path(os.devnull).open(encoding="utf-8"),
        stdout=sys.stdout or Path(os.devnull).open("w", encoding="utf-8"),
        stderr=sys.stderr or Path(os.devnull).open("w", encoding="utf-8"),
        variables=dict(os.environ),
        directory=_working_directory(),
        user_id=os.geteuid(),
    )


def _working_directory() -> Path:
    try:
        found = Path.cwd()
    except OSError:  # removed, unmounted, not permitted, or its file server is gone
        return UNREACHABLE
    # Some C libraries return "(unreachable)/..." for a directory outside of the root directory.
    return found if found.is_absolute() else UNREACHABLE
