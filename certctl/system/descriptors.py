"""How many files and sockets this process may have open at once (RLIMIT_NOFILE)."""

from __future__ import annotations

import resource
from contextlib import suppress

USUAL_LIMIT = 1024
"""The limit that most systems set, and that every program started by a hook can cope with."""


def raise_descriptor_limit() -> int:
    """Raise this process's limit to `USUAL_LIMIT`, as far as permitted, and return the limit.

    It is never raised above that, since child processes inherit it, and those that use select(2)
    cannot handle a larger one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return USUAL_LIMIT
    wanted = USUAL_LIMIT if hard == resource.RLIM_INFINITY else min(USUAL_LIMIT, hard)
    if wanted > soft:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
