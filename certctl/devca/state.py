"""What the parts of the development CA share: settings, records, keys, time, nonces.

Holds things together and decides nothing; what a request may do stands with its resource.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from certctl.devca.authority import Authority
from certctl.devca.jws import PublicKey
from certctl.devca.records import Records
from certctl.devca.settings import DevCaSettings
from certctl.devca.zone import MockZone
from certctl.ports import Clock

_MAX_NONCES = 100_000


class Nonces:
    """Nonces that were handed out and not used yet; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._unused: dict[str, None] = {}
        self._guard = threading.Lock()

    def fresh(self) -> str:
        """Return a new nonce (RFC 8555 §6.5)."""
        nonce = secrets.token_urlsafe(16)
        with self._guard:
            self._unused[nonce] = None
            if len(self._unused) > _MAX_NONCES:
                del self._unused[next(iter(self._unused))]
        return nonce

    def spend(self, nonce: object) -> bool:
        """Return whether a nonce is good; it is not any more then."""
        with self._guard:
            return isinstance(nonce, str) and self._unused.pop(nonce, self) is None

    def forget(self) -> None:
        """Make every nonce bad, as a restart does."""
        with self._guard:
            self._unused.clear()


@dataclass(frozen=True)
class State:
    """Everything that outlives a request."""

    settings: DevCaSettings
    records: Records
    authority: Authority
    clock: Clock
    zone: MockZone
    validate: Callable[[str, str], None]
    """Begin to validate a challenge: the id of its authorization, and its type."""
    nonces: Nonces = field(default_factory=Nonces)
    keys: dict[str, PublicKey] = field(default_factory=dict)
    """Accounts' keys by thumbprint, as far as they were needed: reading one takes its time."""

    def now(self) -> float:
        """Return seconds since 1970."""
        return self.clock.now().timestamp()


def new_id() -> str:
    """Return an id that cannot be guessed."""
    return secrets.token_urlsafe(12)


def timestamp(seconds: float) -> str:
    """Return a time as RFC 3339 has it, to the second."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
