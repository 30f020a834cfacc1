"""What one command shares between its certificates: leases, CA connections, solvers, the stop
event.

A `Run` is a context manager; leaving it gives everything back, in the reverse order of taking it.
Its methods may be called from several threads.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from threading import Event as StopEvent
from threading import RLock, local
from types import TracebackType
from typing import TYPE_CHECKING, Self

from certctl.dns.system import KeyedLocks
from certctl.errors import Interrupted, LockHeld, StoreError
from certctl.events import Retrying, Warned
from certctl.models import Account, CertificateSpec, ChallengeSpec, Endpoint, LedgerEntry
from certctl.operations.job_slots import PrioritySemaphore
from certctl.operations.services import Services

if TYPE_CHECKING:
    from certctl.ca.client import AcmeClient
    from certctl.deploy.hooks import HookSystem
    from certctl.ports import HeldLock, Solver

_NOTES_AT_ONCE = 50


class Run:
    """One command's work. `stop`, when set, ends every wait; the work then raises `Interrupted`."""

    def __init__(self, services: Services, stop: StopEvent | None = None) -> None:
        self.services = services
        self.stop = stop or StopEvent()
        self._guard = RLock()
        self._stack = ExitStack()
        self._leases: dict[str, HeldLock] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._clients: dict[tuple[str, str | None, str | None], AcmeClient] = {}
        self._solvers: dict[Hashable, Solver] = {}
        self._attempted: set[str] = set()
        self._asked: dict[Account, list[LedgerEntry]] = {}
        self._slots = PrioritySemaphore(services.settings.integer("jobs"))
        self._thread = local()
        self._provider_locks = KeyedLocks()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
        for name in list(self._leases):
            self.release(name)

    @property
    def hook_system(self) -> HookSystem:
        """What a hook of this run is run with; stopping the run ends it."""
        from certctl.deploy.hooks import HookSystem  # noqa: PLC0415 - an idle run needs none

        return HookSystem(self.services.clock, self.services.emit, self.stop)

    def check(self) -> None:
        """Raise `Interrupted` where the run was told to stop."""
        if self.stop.is_set():
            raise Interrupted(
                "stopped before everything was done",
                hint="Run the same command again: it goes on where this one ended.",
            )

    def lock(self, name: str, *, timeout: float) -> None:
        """Hold the lock of the certificate `name` until the run ends or releases it.

        Waits up to `timeout` seconds. Raises `certctl.errors.LockHeld`.
        """
        with self._guard:
            if name in self._leases:
                return
        lease = self.services.store.lock(name, timeout=timeout)
        with self._guard:
            self._leases[name] = lease

    def release(self, name: str) -> None:
        """Give the lock of `name` back before the run ends, where nothing is left to do for it."""
        with self._guard:
            lease = self._leases.pop(name, None)
        if lease is not None:
            lease.release()

    @contextmanager
    def slot(self, rank: int) -> Iterator[None]:
        """Work on one certificate, as one of as many at a time as the setting `jobs` says; of those
        that wait the one with the lowest rank comes first.
        """
        self._slots.acquire(rank)
        self._thread.working = True
        try:
            yield
        finally:
            self._thread.working = False
            self._slots.release()

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Only wait: meanwhile another certificate may take the slot of this thread, if it has
        one.
        """
        if not getattr(self._thread, "working", False):
            yield
            return
        self._slots.release()
        try:
            yield
        finally:
            self._slots.acquire(-1)  # it was at work before

    def endpoint(self, directory_url: str, ca_bundle: str | None) -> Endpoint:
        """Return how to reach a CA, starting one that runs inside this process if it must be."""
        factory = self.services.endpoints.get(directory_url)
        if factory is None:
            return Endpoint(directory_url, ca_bundle)
        with self._guard:
            if directory_url not in self._endpoints:
                self._endpoints[directory_url] = self._stack.enter_context(factory())
            return self._endpoints[directory_url]

    def challenge(self, spec: CertificateSpec) -> ChallengeSpec:
        """Return how control is proved to the spec's CA.

        One that runs inside this process looks at ports of its own, and has a zone that takes
        updates, so that wildcards need no DNS of anybody's.
        """
        endpoint, challenge = self.endpoint(spec.ca, spec.ca_bundle), spec.challenge
        if challenge.method in {"dns", "dns-persist"} and endpoint.dns is not None:
            return replace(challenge, dns_resolver=challenge.dns_resolver or endpoint.dns)
        if challenge.method == "tls-alpn" and endpoint.tls_alpn_port is not None:
            port = endpoint.tls_alpn_port
            return replace(challenge, tls_alpn_address="127.0.0.1", tls_alpn_port=port)
        if challenge.method != "standalone" or endpoint.http_port is None:
            return challenge
        if endpoint.dns is not None and any(each.wildcard for each in spec.identifiers):
            return replace(
                challenge,
                method="dns",
                dns_provider="rfc2136",
                dns_resolver=endpoint.dns,
                plugin={"dns.rfc2136.server": endpoint.dns},
            )
        return replace(challenge, http_address="127.0.0.1", http_port=endpoint.http_port)

    def client(
        self, directory_url: str, ca_bundle: str | None, account: Account | None = None
    ) -> AcmeClient:
        """Return the connection to a CA, as `account` or, without one, as nobody in particular; all
        share the CA's directory, nonces and connections.
        """
        from certctl.ca.client import AcmeClient  # noqa: PLC0415 - an idle run needs no network
        from certctl.ca.documented_limits import documented_limits  # noqa: PLC0415 - an idle run needs no network

        with self._guard:
            index = (directory_url, ca_bundle, account.id if account else None)
            if index not in self._clients and account is not None:
                key = self.services.store.accounts.key(account)
                nobody = self.client(directory_url, ca_bundle)
                self._clients[index] = nobody.with_key(key, account.url)
            elif index not in self._clients:
                client = AcmeClient(
                    self.endpoint(directory_url, ca_bundle),
                    clock=self.services.clock,
                    stop=self.stop,
                    notify=self.retrying,
                    documented_limits=documented_limits(directory_url),
                )
                self._clients[index] = client
                self._stack.callback(client.close)
            return self._clients[index]

    def note(self, account: Account, asked: LedgerEntry) -> None:
        """Take note of what was asked of a CA. It is written together with others, at the latest
        when the run ends: hundreds of orders at a time do not wait for the disk.
        """
        with self._guard:
            if not self._asked:
                self._stack.callback(self._write_asked)
            self._asked.setdefault(account, []).append(asked)
            if len(self._asked[account]) < _NOTES_AT_ONCE:
                return
            notes = {account: self._asked[account]}
            self._asked[account] = []
        self._write(notes)

    def _write_asked(self) -> None:
        with self._guard:
            notes, self._asked = self._asked, {}
        self._write(notes)

    def _write(self, notes: Mapping[Account, Sequence[LedgerEntry]]) -> None:
        store, now = self.services.store, self.services.clock.now()
        for account, asked in notes.items():
            with suppress(StoreError, LockHeld, Interrupted):
                store.accounts.add_to_ledger(account, asked, now)

    def forget_client(self, account: Account) -> None:
        """Use the key of an account no more: it, or the account's status, has changed."""
        with self._guard:
            for index in [each for each in self._clients if each[2] == account.id]:
                del self._clients[index]

    def solver(self, challenge: ChallengeSpec) -> Solver:
        """Return what answers challenges the way `challenge` says, one for all that say the
        same.
        """
        from certctl.challenges.loading import (  # noqa: PLC0415 - an idle run needs no solver
            SolverSystem,
            create_solver,
            no_port_lock,
            sharing_key,
        )

        with self._guard:
            # A CA inside this process looks at ports that nobody else wants.
            own = {
                port
                for each in self._endpoints.values()
                for port in (each.http_port, each.tls_alpn_port)
            }
            shared = own.isdisjoint((challenge.http_port, challenge.tls_alpn_port))
            index = sharing_key(challenge)
            if index not in self._solvers:
                system = SolverSystem(
                    clock=self.services.clock,
                    stop=self.stop,
                    credentials=self.services.settings.dns,
                    instruct=self.services.instruct,
                    provider_locks=self._provider_locks,
                    lock_port=self.services.store.lock_port if shared else no_port_lock,
                )
                solver = create_solver(challenge, system)
                self._solvers[index] = solver
                self._stack.callback(solver.close)
            return self._solvers[index]

    def first_attempt(self, entry: str) -> bool:
        """Return whether this run has not tried to do what an entry of the journal asks for; from
        now on it has.
        """
        with self._guard:
            first = entry not in self._attempted
            self._attempted.add(entry)
            return first

    def warn(self, message: str, name: str = "") -> None:
        """Tell the person at the other end something that does not stop the work."""
        self.services.emit(Warned(name, self.services.clock.now(), message))

    def retrying(self, reason: str, seconds: float) -> None:
        """Tell them that a request is sent again in `seconds`, and why."""
        self.services.emit(Retrying("", self.services.clock.now(), reason, seconds))
