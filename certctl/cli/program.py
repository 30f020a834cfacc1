"""The command that runs this certctl again: for a scheduler, or as another process."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from certctl.schedule.job import ISOLATED
from certctl.system.process import run

_WHERE = "import certctl.version as v, pathlib; print(pathlib.Path(v.__file__).parents[0])"
"""What another interpreter runs to print the directory of its certctl."""
_SECONDS = 30.0


def program_of() -> tuple[str, ...]:
    """Return the command that runs this certctl: this interpreter, isolated, with the module. If
    that would not find this certctl, as with `pip install --user`, it is the absolute path that
    certctl was called by; a link such as /usr/local/bin/certctl is not resolved.
    """
    isolated = (sys.executable, *ISOLATED)
    package = str(Path(__file__).parents[1])
    found = run([sys.executable, "-I", "-c", _WHERE], environment={}, timeout=_SECONDS)
    if found.exit_status == 0 and found.output.strip() == package:
        return isolated
    called = Path(sys.argv[0])
    with suppress(OSError):  # the working directory may be gone
        called = called.absolute()
    runs = called.is_absolute() and called.is_file() and os.access(called, os.X_OK)
    if called.name == "certctl" and runs:
        return (str(called),)
    return (sys.executable, "-m", "certctl")
