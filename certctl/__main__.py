"""Entry point of `certctl` and of `python -m certctl`, kept fast to start and fast to exit."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

_OBJECTS_BETWEEN_COLLECTIONS = 200_000
"""Python's default of 700 would trigger many useless collections while modules are imported."""


_UNUSED = ("chardet", "charset_normalizer")
"""Libraries that guess the encoding of a text, which `requests` would import if they are there.
Nothing is guessed: what a CA sends is UTF-8 (RFC 8555 §5, RFC 8259 §8.1).
"""


_FRAME = 36_000
"""The size of the frame that the command runs above, in values of 8 bytes.

Python keeps frames in pieces of 16 kB, and larger ones as it needs them. A call across the border
of a piece maps the next one and unmaps it when it returns: hundreds of times while modules are
imported, a tenth of the time of a whole issuance. A frame of 288 kB gets a piece of 512 kB, in
which those above it have room. The kernel provides the memory only when it is used.
"""


def entry() -> NoReturn:
    """Run `certctl`, then exit with its status."""
    _run_and_exit(_main)


def certbot() -> NoReturn:
    """Run `certctl-certbot`, then exit with its status."""
    _run_and_exit(_certbot)


def _run_and_exit(main: Callable[[], int]) -> NoReturn:
    """Run a command, then exit with its status.

    The command has already flushed and closed everything it opened, so the interpreter's own
    shutdown is skipped: it would take a tenth of the time of a whole issuance.
    """
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    for each in _UNUSED:
        sys.modules.setdefault(each, None)  # type: ignore[arg-type]  # importing it fails, then
    _call.__code__ = _call.__code__.replace(co_stacksize=_FRAME)
    status = _call(main)
    for stream in (sys.stdout, sys.stderr):
        # A result that could not be written has its status already; messages change none.
        with suppress(OSError, ValueError):
            if stream is not None:
                stream.flush()
    os._exit(status)


def _call(function: Callable[[], int]) -> int:
    return function()


def _main() -> int:
    from certctl.cli.main import main  # noqa: PLC0415 - after all that makes it faster

    return main()


def _certbot() -> int:
    from certctl.certbot.main import main  # noqa: PLC0415 - after all that makes it faster

    return main()


if __name__ == "__main__":
    entry()
