"""What a process gets from outside: streams, variables, directory, user.

Tests pass in their own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO


@dataclass(frozen=True)
class Environment:
    """The world around one command."""

    stdin: TextIO
    stdout: TextIO
    stderr: TextIO
    variables: Mapping[str, str]
    directory: Path
    user_id: int


def of_this_process() -> Environment:
    """Return the environment of the process itself; a stream that is closed leads nowhere."""
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
        return Path.cwd()
    except FileNotFoundError:  # it was removed behind our back
        return Path("/")
