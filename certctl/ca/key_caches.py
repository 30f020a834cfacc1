"""After a key rollover, servers of a CA may know the account's old key for some seconds, and refuse
requests signed with the new one. Rules for waiting until they know it.

Pure.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from certctl.model.errors import AcmeError

CACHED_FOR = timedelta(minutes=5)
"""How long after a key rollover a refusal may come from a cache."""

DELAYS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each retry of a request that was refused in that time."""

_REFUSALS = frozenset({None, "malformed", "unauthorized"})


def may_be_cached(changed: datetime | None, now: datetime) -> bool:
    """Return whether servers of the CA may not know yet the key that an account got at `changed`.

    A time in the future comes from a clock that was wrong, and says nothing.
    """
    return changed is not None and timedelta(0) <= now - changed < CACHED_FOR


def may_be_refused_key(error: AcmeError) -> bool:
    """Return whether a request may have been refused because of the key that signed it, so that the
    CA did nothing: RFC 8555 has no problem type of its own for a signature that is wrong.
    """
    return error.status in {400, 401, 403} and error.type in _REFUSALS
