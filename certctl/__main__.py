"""Entry point of `certctl` and of `python -m certctl`, kept fast to start and fast to exit."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

_OBJECTS_BETWEEN_COLLECTIONS = 200_000
"""Python's default of 700 would trigger many useless collections while modules are imported."""


_UNUSED = ("chardet", "charset_normalizer")
"""Libraries that guess the encoding of a text, which `requests` would import if they are there.
Nothing is guessed: what a CA sends is UTF-8 (RFC 8555 §5, RFC 8259 §8.1).
"""


def entry() -> NoReturn:
    """Run the command, then exit with its status.

    The command has already flushed and closed everything it opened, so the interpreter's own
    shutdown is skipped: it would take a tenth of the time of a whole issuance.
    """
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    for each in _UNUSED:
        sys.modules.setdefault(each, None)  # type: ignore[arg-type]  # importing it fails, then
    from certctl.cli.main import main  # noqa: PLC0415 - after set_threshold

    status = main()
    for stream in (sys.stdout, sys.stderr):
        # A result that could not be written has its status already; messages change none.
        with suppress(OSError, ValueError):
            if stream is not None:
                stream.flush()
    os._exit(status)


if __name__ == "__main__":
    entry()
