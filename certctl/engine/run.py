"""What one command shares between its certificates: locks, CA connections, solvers, stop event.

A `Run` is a context manager; leaving it releases everything in reverse order of acquisition. Its
methods are safe to call from several threads.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from threading import Event as StopEvent
from threading import RLock, local
from types import TracebackType
from typing import TYPE_CHECKING, Self

from certctl.dns.system import KeyedLocks
from certctl.engine.held import Held
from certctl.engine.job_slots import PrioritySemaphore
from certctl.engine.services import Services
from certctl.model.ca import Account, Endpoint, LedgerEntry
from certctl.model.errors import ConfigurationError, Interrupted, LockHeld, StoreError
from certctl.model.events import Retrying, Warned
from certctl.model.identifiers import IdentifierType
from certctl.model.spec import CertificateSpec, ChallengeSpec
from certctl.rules.options import BY_IDENTIFIER, METHODS
from certctl.store.machine import CertificateMachine
from certctl.store.records import Records, Subject
from certctl.system.core_dumps import forbid_core_dumps

if TYPE_CHECKING:
    from certctl.ca.client import AcmeClient
    from certctl.deploy.hooks import HookSystem
    from certctl.model.ports import Solver

_LEDGER_BATCH = 50


class Run:
    """One command's run. Setting `stop` ends every wait, and the work raises `Interrupted`."""

    def __init__(self, services: Services, stop: StopEvent | None = None) -> None:
        self.services = services
        self.stop = stop or StopEvent()
        self._guard = RLock()
        self._stack = ExitStack()
        self._held: dict[str, Held] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._clients: dict[tuple[str, str | None, str | None], AcmeClient] = {}
        self._solvers: dict[Hashable, Solver] = {}
        self._attempted: set[str] = set()
        self._ledger: dict[Account, list[LedgerEntry]] = {}
        self._slots = PrioritySemaphore(services.settings.integer("jobs"))
        self._thread = local()
        self._provider_locks = KeyedLocks()
        self._once: dict[str, bool] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
        for name in list(self._held):
            self.release(name)

    @property
    def hook_system(self) -> HookSystem:
        """What hooks of this run need; stopping the run terminates them."""
        from certctl.deploy.hooks import HookSystem  # noqa: PLC0415 - an idle run needs none

        return HookSystem(self.services.clock, self.services.emit, self.stop)

    def check(self) -> None:
        """Raise `Interrupted` if the run is to stop."""
        if self.stop.is_set():
            raise Interrupted(
                "stopped before everything was done",
                hint="Run the same command again to do the rest.",
            )

    def once(self, what: str, find: Callable[[], bool]) -> bool:
        """Return what `find` returned when it was first called for `what` in this run."""
        with self._guard:
            if what not in self._once:
                self._once[what] = find()
            return self._once[what]

    def pause(self, seconds: float) -> None:
        """Wait, unless the run is stopped. Raises `Interrupted`."""
        if seconds > 0:
            self.services.clock.wait(self.stop, seconds)
        self.check()

    def hold(self, name: str, *, timeout: float, dry_run: bool = False) -> Held:
        """Return the certificate `name`, locked until the run ends or releases it.

        Waits up to `timeout` seconds for the lock. With `dry_run`, nothing of it is written. Raises
        `certctl.model.errors.LockHeld`.
        """
        with self._guard:
            if name in self._held:
                return self._held[name]
        records: Records = self.services.records
        machine: CertificateMachine = self.services.machine
        if dry_run:
            from certctl.store.memory.memory_records import MemoryRecords  # noqa: PLC0415 - for dry runs only
            from certctl.store.memory.unchanged_machine import UnchangedMachine  # noqa: PLC0415 - for dry runs only

            records = MemoryRecords(self.services.clock, base=records, stop=self.stop)
            machine = UnchangedMachine(machine)
        lease = records.lease(Subject(name), wait=timeout)
        try:
            lock = machine.lock(name, timeout=timeout)
        except BaseException:
            lease.release()
            raise
        with self._guard:
            held = Held(name, self.services, records, machine, (lease, lock))
            return self._held.setdefault(name, held)

    def release(self, name: str) -> None:
        """Release the lock of `name` before the run ends, if it is held."""
        with self._guard:
            held = self._held.pop(name, None)
        if held is not None:
            held.release()

    @contextmanager
    def slot(self, rank: int) -> Iterator[None]:
        """Hold one of the slots of the setting `jobs` while working on a certificate.

        Of those waiting for a slot, the one with the lowest rank is served first.
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
        """Give up this thread's slot, if it has one, while only waiting."""
        if not getattr(self._thread, "working", False):
            yield
            return
        self._slots.release()
        try:
            yield
        finally:
            self._slots.acquire(-1)  # work that has started comes first

    def endpoint(self, directory_url: str, ca_bundle: str | None) -> Endpoint:
        """Return how to reach a CA; starts a CA that runs inside this process."""
        factory = self.services.endpoints.get(directory_url)
        if factory is None:
            from certctl.system.proxy import proxy_from  # noqa: PLC0415 - an idle run needs no network

            opened = self.services.opened
            if opened is not None and (opened.url, opened.roots) != (directory_url, ca_bundle):
                opened = None
            proxy = proxy_from(self.services.settings)
            return Endpoint(directory_url, ca_bundle, proxy=proxy, opened=opened)
        with self._guard:
            if directory_url not in self._endpoints:
                self._endpoints[directory_url] = self._stack.enter_context(factory())
            return self._endpoints[directory_url]

    def challenge(self, spec: CertificateSpec) -> ChallengeSpec:
        """Return how the spec's domain validation is done.

        A CA inside this process connects to its own ports, and has a DNS zone that accepts updates,
        so that wildcards need no external DNS.
        """
        endpoint, challenge = self.endpoint(spec.ca, spec.ca_bundle), spec.challenge
        if challenge.method not in METHODS and spec.ca in self.services.endpoints:
            return _with_ports(challenge, endpoint)
        if challenge.method in {"dns", "dns-persist"} and endpoint.dns is not None:
            return replace(challenge, dns_resolver=challenge.dns_resolver or endpoint.dns)
        if challenge.method == "stateless":
            resolver = challenge.dns_resolver or endpoint.dns
            return replace(challenge, http_port=endpoint.http_port or 80, dns_resolver=resolver)
        if challenge.method == "tls-alpn" and endpoint.tls_alpn_port is not None:
            port = endpoint.tls_alpn_port
            return replace(challenge, tls_alpn_address="127.0.0.1", tls_alpn_port=port)
        if challenge.method != "standalone" or endpoint.http_port is None:
            return challenge
        if endpoint.dns is not None and any(each.wildcard for each in spec.identifiers):
            addressed = any(each.type is IdentifierType.IP for each in spec.identifiers)
            return replace(
                challenge,
                method=BY_IDENTIFIER if addressed else "dns",
                http_address="127.0.0.1",
                http_port=endpoint.http_port,
                dns_provider="rfc2136",
                dns_resolver=endpoint.dns,
                plugin={"dns.rfc2136.server": endpoint.dns},
            )
        return replace(challenge, http_address="127.0.0.1", http_port=endpoint.http_port)

    def client(
        self, directory_url: str, ca_bundle: str | None, account: Account | None = None
    ) -> AcmeClient:
        """Return the client for a CA, with the key of `account` if one is given.

        All clients of a CA share its directory, nonces and connections.
        """
        index = (directory_url, ca_bundle, account.id if account else None)
        if (known := self._clients.get(index)) is not None:
            return known
        from certctl.ca.client import AcmeClient  # noqa: PLC0415 - an idle run needs no network
        from certctl.ca.documented_limits import documented_limits  # noqa: PLC0415 - an idle run needs no network
        from certctl.ca.key_caches import may_be_cached  # noqa: PLC0415 - an idle run needs no network

        forbid_core_dumps()  # keys are about to be created or read
        with self._guard:
            if index not in self._clients and account is not None:
                key = self.services.records.account_keys(account).current
                anonymous = self.client(directory_url, ca_bundle)
                try:
                    client = anonymous.with_key(key, account.url)
                except ConfigurationError as error:
                    raise self._unusable_key(account, error) from error
                if may_be_cached(account.key_changed, self.services.clock.now()):
                    client = client.patient_with_new_key()
                self._clients[index] = client
            elif index not in self._clients:
                client = AcmeClient(
                    self.endpoint(directory_url, ca_bundle),
                    clock=self.services.clock,
                    stop=self.stop,
                    notify=self.retrying,
                    documented_limits=documented_limits(directory_url),
                    waiting=self.idle,
                )
                self._clients[index] = client
                self._stack.callback(client.close)
            return self._clients[index]

    def _unusable_key(self, account: Account, error: ConfigurationError) -> ConfigurationError:
        where = self.services.machine.account_file(account.directory_url, account.id)
        return ConfigurationError(
            f"{where}: {error.message}",
            hint="Restore the file from a backup. Without one, delete the account and register a"
            f" new one: certctl account forget --account {account.id}",
            code=error.code,
        )

    def note(self, account: Account, entry: LedgerEntry) -> None:
        """Record a ledger entry. Entries are written in batches, at the latest when the run ends,
        so that hundreds of orders do not wait for the disk.
        """
        with self._guard:
            if not self._ledger:
                self._stack.callback(self._write_ledger)
            self._ledger.setdefault(account, []).append(entry)
            if len(self._ledger[account]) < _LEDGER_BATCH:
                return
            batch = {account: self._ledger[account]}
            self._ledger[account] = []
        self._write(batch)

    def _write_ledger(self) -> None:
        with self._guard:
            batch, self._ledger = self._ledger, {}
        self._write(batch)

    def _write(self, batch: Mapping[Account, Sequence[LedgerEntry]]) -> None:
        for account, entries in batch.items():
            with suppress(StoreError, LockHeld, Interrupted):
                self.services.records.note(account, entries)

    def forget_client(self, account: Account) -> None:
        """Drop the client of an account after its key or status has changed."""
        with self._guard:
            for index in [each for each in self._clients if each[2] == account.id]:
                del self._clients[index]

    def solver(self, challenge: ChallengeSpec) -> Solver:
        """Return the solver for `challenge`; equal ones share a solver."""
        if challenge.method == BY_IDENTIFIER:
            from certctl.challenges.by_identifier import (  # noqa: PLC0415 - an idle run needs no solver
                ByIdentifierSolver,
            )

            names, addresses = (
                replace(challenge, method="dns"),
                replace(challenge, method="standalone"),
            )
            return ByIdentifierSolver(self.solver(names), self.solver(addresses))
        from certctl.challenges.loading import (  # noqa: PLC0415 - an idle run needs no solver
            SolverSystem,
            create_solver,
            no_port_lock,
            sharing_key,
        )
        from certctl.system.proxy import proxy_from  # noqa: PLC0415 - an idle run needs no solver

        with self._guard:
            # The ports of a CA inside this process need no lock: no other process uses them.
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
                    proxy=proxy_from(self.services.settings),
                    lock_port=self.services.machine.lock_port if shared else no_port_lock,
                )
                solver = create_solver(challenge, system)
                self._solvers[index] = solver
                self._stack.callback(solver.close)
            return self._solvers[index]

    def first_attempt(self, entry: str) -> bool:
        """Return whether this run has not tried a journal entry before, and mark it as tried."""
        with self._guard:
            first = entry not in self._attempted
            self._attempted.add(entry)
            return first

    def warn(self, message: str, name: str = "") -> None:
        """Report a warning to the user; the work goes on."""
        self.services.emit(Warned(name, self.services.clock.now(), message))

    def retrying(self, reason: str, seconds: float) -> None:
        """Report that a request will be retried in `seconds`, and why."""
        self.services.emit(Retrying("", self.services.clock.now(), reason, seconds))


def _with_ports(challenge: ChallengeSpec, endpoint: Endpoint) -> ChallengeSpec:
    """Return where a plug-in must answer a CA inside this process."""
    return replace(
        challenge,
        http_address="127.0.0.1",
        http_port=endpoint.http_port or challenge.http_port,
        tls_alpn_address="127.0.0.1",
        tls_alpn_port=endpoint.tls_alpn_port or challenge.tls_alpn_port,
        dns_resolver=challenge.dns_resolver or endpoint.dns,
    )
