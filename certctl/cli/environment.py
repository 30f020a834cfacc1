"""What a process gets from its environment: streams, variables, working directory, user.

Tests pass their own.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from certctl.model.lazy_dataclass import dataclass
from certctl.model.text import json_escape
from certctl.rules.paths import SYSTEM_HOME, UNREACHABLE

_HANDLER = "certctl.as_in_json"
_LINE = "─"
"""What the rules of tables are drawn with."""


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
        stdout=writing_anything(sys.stdout or Path(os.devnull).open("w", encoding="utf-8")),
        stderr=writing_anything(sys.stderr or Path(os.devnull).open("w", encoding="utf-8")),
        variables=dict(os.environ),
        directory=_working_directory(),
        user_id=os.geteuid(),
    )


def writing_anything(stream: TextIO) -> TextIO:
    r"""Return a stream that writes characters that its encoding lacks as JSON does, such as
    `\u00e9`, and lines of tables as dashes. That of UTF-8 lacks none.
    """
    if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name != "utf-8":
        codecs.register_error(_HANDLER, _as_in_json)
        stream.reconfigure(errors=_HANDLER)
    return stream


def _as_in_json(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    shown = "".join("-" if each == _LINE else json_escape(each) for each in lacking)
    return shown, error.end


def _working_directory() -> Path:
    try:
        found = Path.cwd()
    except OSError:  # removed, unmounted, not permitted, or its file server is gone
        return UNREACHABLE
    # Some C libraries return "(unreachable)/..." for a directory outside of the root directory.
    return found if found.is_absolute() else UNREACHABLE
