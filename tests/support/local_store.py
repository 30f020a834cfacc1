"""A home directory with one method for each step, as tests prepare and look at it.

Over the modules of `certctl.store.home`, without leases and generations; certctl itself uses the
ports `certctl.store.records` and `certctl.store.machine`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from certctl.model.certificate import Material, PendingOrder, RenewalState, Version
from certctl.model.delivery import THIS_MACHINE, Deployment
from certctl.model.ports import Clock
from certctl.model.run import LastAlert, PrintedFailure, RunHistory, TemporaryFile
from certctl.model.spec import CertificateSpec
from certctl.model.status import CertificateStatus
from certctl.rules.integrity import described
from certctl.rules.renewal import with_wanted
from certctl.rules.settings import Settings
from certctl.store.codec import Json
from certctl.store.home.accounts import Accounts
from certctl.store.home.documents import require_not_newer
from certctl.store.home.home_machine import HomeMachine
from certctl.store.home.home_records import HomeRecords
from certctl.store.home.imports import Imports
from certctl.store.home.journal import Journal
from certctl.store.home.parts import Parts, ignore_warning
from certctl.store.home.trust import HomeTrust
from certctl.store.home.versions import key_group
from certctl.store.records import ListRow
from certctl.system.core_dumps import forbid_core_dumps
from certctl.system.files import Sync, write_atomic
from certctl.system.locks import FileLock


class LocalStore:
    """A home directory, which the first write creates.

    `warn` is called for files that cannot be parsed and are not essential. `stop` ends waiting for
    a lock.
    """

    def __init__(
        self,
        home: Path,
        settings: Settings,
        clock: Clock,
        *,
        stop: threading.Event | None = None,
        warn: Callable[[str], None] = ignore_warning,
    ) -> None:
        parts = self._parts = Parts(home, settings, clock, stop=stop, warn=warn)
        self.records = HomeRecords(parts)
        self.machine = HomeMachine(parts)
        self._layout = parts.layout
        self._clock = clock
        self._specs = parts.specs
        self._versions = parts.versions
        self._state_files = parts.state_files
        self._pending_orders = parts.pending_orders
        self._idle = parts.idle
        self._summary_cache = parts.summary_cache
        self._leftovers = parts.leftovers
        self._runs = parts.runs
        self._copy_owners = parts.copy_owners
        self._imports = parts.imports

    @property
    def trust(self) -> HomeTrust:
        """Whether other users could have written the home directory; checked for each lock."""
        return self._parts.trust

    @property
    def accounts(self) -> Accounts:
        return self._parts.accounts

    @property
    def journal(self) -> Journal:
        return self._parts.journal

    @property
    def imports(self) -> Imports:
        return self._imports

    def names(self) -> Sequence[str]:
        return self._specs.names()

    def names_mentioning(self, value: str) -> Sequence[str]:
        return self._specs.names_mentioning(value)

    def spec(self, name: str) -> CertificateSpec:
        return self._specs.read(name)

    def save_spec(self, spec: CertificateSpec) -> None:
        self._specs.save(spec)

    def csr(self, name: str) -> bytes | None:
        return self._specs.csr(name)

    def save_csr(self, name: str, pem: bytes) -> None:
        self._specs.save_csr(name, pem)

    def status(self, name: str) -> CertificateStatus:
        """Return the status from `issued.json` and the two state files. The certificate's other
        files are read only if they have changed since they were last found intact.

        Without a deployment state, deployment is pending. A live version that cannot be parsed
        counts as missing, so that it is replaced. Raises `StoreCorrupt` if the live link is
        something other than a link.
        """
        live = self._live(name)
        deployments = self._deployments(name, live)
        deployment = _of_this_machine(deployments)
        not_live = None
        if live is not None and deployment.wanted not in {None, live.number}:
            not_live = self._versions.read_or_warn(name, deployment.wanted or 0)
        waiting = None
        if (deployment.waiting or 0) > (deployment.wanted or 0):
            waiting = self._versions.read_or_warn(name, deployment.waiting or 0)
        newest = waiting or not_live or live
        renewal_state = self._state_files.renewal(name, newest, self._clock.now())
        return CertificateStatus(
            name=name,
            live=live,
            deployments=deployments,
            renewal_state=renewal_state,
            wanted_not_live=not_live,
            damage=None if live is None else self._parts.damage(live),
            waiting=waiting,
        )

    def possibly_due(self, names: Iterable[str], now: datetime) -> Iterator[str]:
        return self._idle.possibly_due(names, now)

    def cached_rows(self, names: Iterable[str], now: datetime) -> Mapping[str, Json]:
        return self._summary_cache.load(names, now)

    def cache_rows(self, rows: Mapping[str, tuple[Json, datetime]]) -> None:
        self._summary_cache.save(rows, self._clock.now())

    def save_renewal_state(
        self,
        name: str,
        renewal_state: RenewalState,
        *,
        next_action_at: datetime | None,
        row: ListRow | None = None,
    ) -> None:
        """Write the renewal state. Call it last: any later change makes the certificate possibly
        due.
        """
        now, rows = self._clock.now(), self._parts.saved_rows
        seen = self._idle.snapshot(name, self._specs.seen(name), self._parts.intact_files(name))
        self._state_files.save_renewal(
            name,
            renewal_state,
            last_version=self._parts.last_version(name),
            next_action_at=next_action_at,
            seen=seen,
            now=now,
            with_row=lambda text: rows.appended(text, name, row, seen, now) if row else text,
        )

    def save_deployment(self, name: str, deployment: Deployment) -> None:
        self._state_files.save_deployment(name, deployment)

    def claim_copy(self, path: str, name: str) -> str | None:
        return self._copy_owners.claim(path, name, self._owns_copy)

    def versions(self, name: str) -> Sequence[Version]:
        """Return the archived versions, oldest first, without those that cannot be parsed."""
        found = (self._versions.read_or_warn(name, each) for each in self._versions.numbers(name))
        return [each for each in found if each is not None]

    def material(self, name: str, number: int, *, with_key: bool = True) -> Material:
        if with_key:
            forbid_core_dumps()
        return self._versions.material(name, number, with_key=with_key)

    def restore_files(self, name: str, number: int) -> Sequence[str]:
        return self._versions.restore(name, number)

    def save_version(self, spec: CertificateSpec, version: Version, material: Material) -> Version:
        """Archive the version, then set the wanted version, then switch the live link.

        A crash after the first step leaves a version that `versions` returns, with its order's URL;
        a crash after the second leaves a wanted version that is not live: deployment is pending.
        """
        name = version.name
        deployments = self._deployments(name, self._live(name))
        known = {number or 0 for each in deployments for number in (each.wanted, each.deployed)}
        number = max(self._parts.last_version(name), *known) + 1
        saved = replace(described(version, material), number=number)
        saved = self._versions.add(spec, saved, material)
        self._state_files.save_deployment(name, with_wanted(_of_this_machine(deployments), number))
        self._versions.make_live(name, number)
        return saved

    def activate(self, name: str, number: int) -> None:
        """Set the wanted version, then switch the live link. Raises `UnknownCertificate` if there
        is no such version, `FilesDamaged` if its files cannot be restored.
        """
        self._versions.restore(name, number)
        found = self._state_files.deployments(name, self._clock.now())
        saved = _of_this_machine(found or ())
        if found is None or saved.wanted != number:
            self._state_files.save_deployment(name, with_wanted(saved, number))
        self._versions.make_live(name, number)

    def revert_live(self, name: str, number: int) -> None:
        """Only switch the live link. Raises as `activate` does."""
        self._versions.restore(name, number)
        self._versions.make_live(name, number)

    def check_access(self, spec: CertificateSpec) -> None:
        key_group(spec)
        self._versions.check_links(spec.name)

    def grant_access(self, spec: CertificateSpec) -> None:
        self._versions.set_access(spec)

    def prune(self, name: str, keep: int) -> None:
        live = self._versions.live_number(name)
        needed = {live}
        for each in self._deployments(name, self._live(name)):
            needed |= {each.wanted, each.deployed}
        numbers = self._versions.numbers(name)
        for number in numbers[: max(len(numbers) - max(keep, 1), 0)]:
            if number not in needed:
                self._versions.remove(name, number)

    def delete(self, name: str) -> None:
        """Remove all files of a certificate, including the rest after an interrupted `delete`.

        The spec is removed first, so that no run renews a partly deleted certificate. The highest
        version number is saved before the versions are removed. Raises `StoreNewer` before anything
        is removed.
        """
        last = self._parts.last_version(name)
        for path in (self._layout.deployed(name), self._layout.pending(name) / "order.json"):
            require_not_newer(path)
        self._specs.remove(name)
        self._state_files.forget_renewal(name, last_version=last)
        self._pending_orders.drop(name, sync=Sync.ALL)
        self._versions.remove_all(name)
        self._state_files.forget_deployment(name)

    def pending(self, name: str) -> PendingOrder | None:
        return next(iter(self._pending_orders.read(name)), None)

    def pending_orders(self, name: str) -> Sequence[PendingOrder]:
        return self._pending_orders.read(name)

    def save_pending(self, name: str, pending: PendingOrder) -> None:
        self._pending_orders.save(name, pending)

    def drop_pending(self, name: str) -> None:
        self._pending_orders.drop(name)

    def save_refused(self, name: str, download: bytes) -> None:
        path = self._layout.refused(name)
        self._layout.create_directory(path.parent)
        write_atomic(path, download)

    def history(self) -> RunHistory:
        return self._runs.history(self._clock.now())

    def record_run(
        self,
        now: datetime,
        exit_status: int,
        last_alert: LastAlert | None = None,
        printed: Sequence[PrintedFailure] = (),
    ) -> None:
        self._layout.create_directory(self._layout.home)
        self._runs.record(now, exit_status, last_alert, printed)

    def record_external_schedule(self, *, external: bool) -> None:
        self._layout.create_directory(self._layout.home)
        self._runs.record_external(self._clock.now(), external=external)

    def lock(self, name: str, *, timeout: float) -> FileLock:
        return self._parts.lock_certificate(name, timeout)

    def names_with_leftovers(self) -> Sequence[str]:
        return self._leftovers.names()

    def check_spec_file(self, name: str) -> None:
        self._specs.check_file(name)

    def leftovers(self, now: datetime) -> Sequence[TemporaryFile]:
        return self._leftovers.all(now)

    def remove_leftover(self, found: TemporaryFile) -> None:
        self.machine.remove_leftover(found)

    def names_without_spec(self) -> Sequence[str]:
        return self._versions.names_without(self._specs.names())

    def lock_run(self, *, timeout: float) -> FileLock:
        return self.machine.lock_run(timeout=timeout)

    def lock_port(self, port: int, *, queue: bool, timeout: float) -> FileLock:
        return self.machine.lock_port(port, queue=queue, timeout=timeout)

    def _live(self, name: str) -> Version | None:
        number = self._versions.live_number(name)
        return None if number is None else self._versions.read_or_warn(name, number)

    def _deployments(self, name: str, live: Version | None) -> tuple[Deployment, ...]:
        """Return the deployments. Without a state, that of this machine is derived from the
        archive: the live version, or else the newest, is wanted, and none is known to be deployed.
        """
        saved = self._state_files.deployments(name, self._clock.now()) or ()
        if _of_this_machine(saved).wanted is not None:
            return saved
        newest = live or next(reversed(self.versions(name)), None)
        derived = Deployment(wanted=None if newest is None else newest.number)
        return (derived, *(each for each in saved if each.destination != THIS_MACHINE))

    def _owns_copy(self, name: str, path: str) -> bool:
        """Return whether a certificate has a spec and writes a file outside the home directory."""
        found = self._state_files.deployments(name, self._clock.now())
        written = found is None or any(path in each.copies for each in found)
        return self._layout.spec(name).exists() and written


def _of_this_machine(deployments: Iterable[Deployment]) -> Deployment:
    found = (each for each in deployments if each.destination == THIS_MACHINE)
    return next(found, Deployment())
