"""The process of `certctl`, and of `python -m certctl`: no time is wasted around the command."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

_OBJECTS_BETWEEN_COLLECTIONS = 200_000
"""Python has 700, and would look again and again at modules that are only being imported."""


def entry() -> NoReturn:
    """Run the command of this process, and end it with its exit status.

    The command has flushed and closed what it opened. To take the interpreter apart module by
    module would be a tenth of the time of a whole issuance.
    """
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    from certctl.cli.main import main  # noqa: PLC0415 - only now, as the collector is told

    status = main()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    entry()
