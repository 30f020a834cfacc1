"""Leases in memory: who holds which subject, alone or shared, until when, and with which token."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from certctl.model.errors import Interrupted, LockHeld
from certctl.model.ports import Clock
from certctl.store.records import Lease, Records, Subject, Token, fenced

_PAUSE = 0.05
"""Seconds between two attempts to take a lease that another holds."""


class MemoryLease:
    """A lease in memory; that of the base, if there is one, is held and released with it."""

    def __init__(
        self, leases: MemoryLeases, subject: Subject, token: Token, ttl: float, base: Lease | None
    ) -> None:
        self._leases = leases
        self._subject = subject
        self._token = token
        self._ttl = ttl
        self._base = base

    @property
    def token(self) -> Token:
        return self._token

    def renew(self) -> None:
        if self._base is not None:
            self._base.renew()
        self._leases.extend(self._subject, self._token, self._ttl)

    def release(self) -> None:
        self._leases.end(self._subject, self._token)
        if self._base is not None:
            self._base.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


@dataclass
class _Holder:
    token: Token
    shared: bool
    until: float


class MemoryLeases:
    """The leases of a store in memory. `guard` is the lock of that store: while it holds the lock,
    no lease that it has required is ended. With a `base`, leases are those of the base.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        base: Records | None,
        stop: threading.Event,
        epoch: int,
        guard: threading.RLock,
    ) -> None:
        self._clock = clock
        self._base = base
        self._stop = stop
        self._epoch = epoch
        self._guard = guard
        self._holders: dict[Subject, list[_Holder]] = {}
        self._tokens = 0

    def lease(self, subject: Subject, *, shared: bool, ttl: float, wait: float) -> MemoryLease:
        """Take a lease, waiting for `wait` seconds at most. Raises `LockHeld`, `Interrupted`."""
        if self._base is not None:
            base = self._base.lease(subject, shared=shared, ttl=ttl, wait=wait)
            with self._guard:
                until = self._clock.monotonic() + ttl
                holder = _Holder(base.token, shared, until)
                self._holders[subject] = [*self._holders.get(subject, []), holder]
            return MemoryLease(self, subject, base.token, ttl, base)
        deadline = self._clock.monotonic() + wait
        while (token := self._try_hold(subject, ttl, shared=shared)) is None:
            left = deadline - self._clock.monotonic()
            if left <= 0:
                raise LockHeld(
                    f"{subject} is locked by another process",
                    hint="Try again when it has finished, or wait longer with"
                    " --lock-timeout SECONDS.",
                )
            if self._clock.wait(self._stop, min(_PAUSE, left)):
                raise Interrupted(f"stopped while waiting for the lock on {subject}")
        return MemoryLease(self, subject, token, ttl, None)

    def extend(self, subject: Subject, token: Token, ttl: float) -> None:
        """Extend a lease by `ttl` seconds from now. Raises `Fenced`."""
        with self._guard:
            self._holder(subject, token, shared=True).until = self._clock.monotonic() + ttl

    def end(self, subject: Subject, token: Token) -> None:
        """End a lease. Idempotent."""
        with self._guard:
            left = [each for each in self._holders.get(subject, []) if each.token != token]
            self._holders[subject] = left

    def require(self, subject: Subject, token: Token) -> None:
        """Check that a lease is valid and not shared. Raises `Fenced`."""
        self._holder(subject, token, shared=False)

    def _try_hold(self, subject: Subject, ttl: float, *, shared: bool) -> Token | None:
        with self._guard:
            now = self._clock.monotonic()
            current = [each for each in self._holders.get(subject, []) if now < each.until]
            if any(not (shared and each.shared) for each in current):
                return None
            self._tokens += 1
            token = Token(self._epoch, self._tokens)
            self._holders[subject] = [*current, _Holder(token, shared, now + ttl)]
            return token

    def _holder(self, subject: Subject, token: Token, *, shared: bool) -> _Holder:
        """Return the holder of a lease that is valid, not shared unless `shared`."""
        now = self._clock.monotonic()
        for each in self._holders.get(subject, []):
            if each.token == token and now < each.until and (shared or not each.shared):
                return each
        raise fenced(subject)
