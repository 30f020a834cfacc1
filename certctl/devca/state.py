"""The state shared by the parts of the development CA: settings, records, keys, clock, nonces."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import field
from datetime import UTC, datetime

from certctl.devca.authority import Authority
from certctl.devca.jws import PublicKey
from certctl.devca.records import Records
from certctl.devca.settings import DevCaSettings
from certctl.devca.zone import MockZone
from certctl.model.lazy_dataclass import dataclass
from certctl.model.ports import Clock

_MAX_NONCES = 100_000


class Nonces:
    """Nonces that were issued and not used yet; the oldest are dropped first."""

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
        """Use up a nonce; return whether it was valid."""
        with self._guard:
            return isinstance(nonce, str) and self._unused.pop(nonce, self) is None

    def forget(self) -> None:
        """Invalidate every nonce, as a restart does."""
        with self._guard:
            self._unused.clear()


@dataclass(frozen=True)
class State:
    """The state that outlives a request."""

    settings: DevCaSettings
    records: Records
    authority: Authority
    clock: Clock
    zone: MockZone
    validate: Callable[[str, str], None]
    """Start validating a challenge, given the id of its authorization and its type."""
    nonces: Nonces = field(default_factory=Nonces)
    keys: dict[str, PublicKey] = field(default_factory=dict)
    """Cache of parsed account keys by thumbprint, because parsing is slow."""

    def now(self) -> float:
        """Return seconds since 1970."""
        return self.clock.now().timestamp()


def new_id() -> str:
    """Return an id that cannot be guessed."""
    return secrets.token_urlsafe(12)


def timestamp(seconds: float) -> str:
    """Return a time in RFC 3339 format, to the second."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
