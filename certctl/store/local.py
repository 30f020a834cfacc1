"""The store in a home directory: what each promise of `certctl.ports.Store` means in files.

The order of writes is decided here, so that a crash between any two of them leaves the old version
or the new one live, and whatever is left to do visible to the next run. How a single thing is read
and written belongs to the other modules of this package.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from certctl.errors import ConfigurationError, LockHeld, UnknownCertificate
from certctl.models import (
    CertificateSpec,
    CertificateStatus,
    Deployment,
    LastAlert,
    Material,
    PendingOrder,
    RenewalState,
    RunHistory,
    Value,
    Version,
)
from certctl.ports import Clock
from certctl.settings import Settings
from certctl.store.accounts import Accounts
from certctl.store.copy_owners import CopyOwners
from certctl.store.documents import Json
from certctl.store.idle import Idle
from certctl.store.journal import Journal
from certctl.store.layout import Layout
from certctl.store.leftovers import Leftovers
from certctl.store.memory import Memories
from certctl.store.pending import Pendings
from certctl.store.runs import Runs
from certctl.store.specs import Specs
from certctl.store.summary_cache import Rows
from certctl.store.versions import Versions, key_group
from certctl.system.files import write_atomic
from certctl.system.locks import FileLock, acquire


def _say_nothing(_message: str) -> None:
    """What a store does with a warning that nobody asked for."""


class LocalStore:
    """Implements `certctl.ports.Store` below `home`, which is made by the first write.

    `warn` is told of things that were unreadable and could be done without; `stop` ends the waiting
    for a lock.
    """

    def __init__(
        self,
        home: Path,
        settings: Settings,
        clock: Clock,
        *,
        stop: threading.Event | None = None,
        warn: Callable[[str], None] = _say_nothing,
    ) -> None:
        self._layout = Layout(home.absolute())
        self._settings = settings
        self._clock = clock
        self._stop = stop
        self._specs = Specs(self._layout, settings, warn)
        self._versions = Versions(self._layout, warn)
        self._memories = Memories(self._layout, warn)
        self._pendings = Pendings(self._layout, warn)
        self._idle = Idle(self._layout, settings)
        self._rows = Rows(self._layout, settings)
        self._leftovers = Leftovers(self._layout)
        self._runs = Runs(self._layout)
        self._copy_owners = CopyOwners(self._layout)
        self._accounts = Accounts(self._layout, clock, stop)
        self._journal = Journal(self._layout, settings.table, self._provider_secrets, warn)

    @property
    def accounts(self) -> Accounts:
        return self._accounts

    @property
    def journal(self) -> Journal:
        return self._journal

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
        """Return what is, from `issued.json` and the two memories; no certificate is parsed.

        Where it is not remembered what was deployed, the deploy is owed. A live version that cannot
        be understood counts as missing, so that it is replaced. Raises `StoreCorrupt` where
        something else than a link stands in the place of the live link.
        """
        live = self._live(name)
        deployment = self._deployment(name, live)
        not_live = None
        if live is not None and deployment.wanted not in {None, live.number}:
            not_live = self._versions.read_or_warn(name, deployment.wanted or 0)
        return CertificateStatus(
            name=name,
            live=live,
            deployment=deployment,
            renewal_state=self._memories.renewal(name),
            wanted_not_live=not_live,
        )

    def possibly_due(self, names: Iterable[str], now: datetime) -> Iterator[str]:
        return self._idle.possibly_due(names, now)

    def cached_rows(self, names: Iterable[str], now: datetime) -> Mapping[str, Json]:
        return self._rows.recall(names, now)

    def cache_rows(self, rows: Mapping[str, tuple[Json, datetime]]) -> None:
        self._rows.keep(rows)

    def save_renewal_state(
        self, name: str, renewal_state: RenewalState, *, next_action_at: datetime | None
    ) -> None:
        """Write the renewal memory; call it last, since every later change of the certificate
        makes it busy.
        """
        self._memories.save_renewal(
            name,
            renewal_state,
            last_version=self._last_version(name),
            next_action_at=next_action_at,
            seen=self._idle.facts(name, self._specs.seen(name)),
        )

    def save_deployment(self, name: str, deployment: Deployment) -> None:
        self._memories.save_deployment(name, deployment)

    def claim_copy(self, path: str, name: str) -> str | None:
        return self._copy_owners.claim(path, name, self._writes)

    def versions(self, name: str) -> Sequence[Version]:
        """Return the archived versions, the oldest first, without those that make no sense."""
        found = (self._versions.read_or_warn(name, each) for each in self._versions.numbers(name))
        return [each for each in found if each is not None]

    def material(self, name: str, number: int) -> Material:
        return self._versions.material(name, number)

    def save_version(self, spec: CertificateSpec, version: Version, material: Material) -> Version:
        """Archive, then aim, then switch.

        A crash after the first step leaves a version that `versions` shows and that names its
        order; after the second, a target that is not live, which is owed.
        """
        name = version.name
        before = self._deployment(name, self._live(name))
        number = max(self._last_version(name), before.wanted or 0, before.deployed or 0) + 1
        saved = replace(version, number=number, has_key=material.privkey is not None)
        self._versions.add(spec, saved, material)
        self._memories.save_deployment(name, _with_wanted(before, number))
        self._versions.point(name, number)
        return saved

    def activate(self, name: str, number: int) -> None:
        """Aim, then switch. Raises `UnknownCertificate` for a version that is not there,
        `StoreError` for one that is not whole.
        """
        self._versions.material(name, number)
        remembered = self._memories.deployment(name)
        if remembered is None or remembered.wanted != number:
            self._memories.save_deployment(name, _with_wanted(remembered or Deployment(), number))
        self._versions.point(name, number)

    def revert_live(self, name: str, number: int) -> None:
        """Switch only. Raises as `activate` does."""
        self._versions.material(name, number)
        self._versions.point(name, number)

    def check_access(self, spec: CertificateSpec) -> None:
        key_group(spec)

    def grant_access(self, spec: CertificateSpec) -> None:
        self._versions.grant(spec)

    def prune(self, name: str, keep: int) -> None:
        live = self._versions.live_number(name)
        deployment = self._deployment(name, self._live(name))
        needed = {live, deployment.wanted, deployment.deployed}
        numbers = self._versions.numbers(name)
        for number in numbers[: max(len(numbers) - max(keep, 1), 0)]:
            if number not in needed:
                self._versions.remove(name, number)

    def delete(self, name: str) -> None:
        """Remove everything of a certificate; also what is left where that was cut off before.

        The spec goes first, so that no run renews what is half gone; the number is written down
        before the versions go.
        """
        last = self._last_version(name)
        self._specs.remove(name)
        self._memories.forget_renewal(name, last_version=last)
        self._pendings.drop(name)
        self._versions.remove_all(name)
        self._memories.forget_deployment(name)

    def pending(self, name: str) -> PendingOrder | None:
        return self._pendings.read(name)

    def save_pending(self, name: str, pending: PendingOrder) -> None:
        self._pendings.save(name, pending)

    def drop_pending(self, name: str) -> None:
        self._pendings.drop(name)

    def save_refused(self, name: str, download: bytes) -> None:
        path = self._layout.refused(name)
        self._layout.make(path.parent)
        write_atomic(path, download)

    def history(self) -> RunHistory:
        return self._runs.history()

    def record_run(
        self, now: datetime, exit_status: int, last_alert: LastAlert | None = None
    ) -> None:
        self._layout.make(self._layout.home)
        self._runs.record(now, exit_status, last_alert)

    def lock(self, name: str, *, timeout: float) -> FileLock:
        try:
            held = self._acquire(self._layout.certificate_lock(name), name, timeout)
        except LockHeld as error:
            error.name = name
            raise
        try:
            self._leftovers.clean_up(name)
        except BaseException:
            held.release()
            raise
        return held

    def lock_run(self, *, timeout: float) -> FileLock:
        return self._acquire(self._layout.run_lock, "the turn for pre and post hooks", timeout)

    def lock_port(self, port: int, *, queue: bool, timeout: float) -> FileLock:
        subject = f"the turn at port {port}"
        return self._acquire(self._layout.port_lock(port, queue=queue), subject, timeout)

    def _acquire(self, path: Path, subject: str, timeout: float) -> FileLock:
        self._layout.make(path.parent)
        return acquire(
            path,
            exclusive=True,
            timeout=timeout,
            clock=self._clock,
            subject=subject,
            stop=self._stop,
        )

    def _live(self, name: str) -> Version | None:
        number = self._versions.live_number(name)
        return None if number is None else self._versions.read_or_warn(name, number)

    def _deployment(self, name: str, live: Version | None) -> Deployment:
        """What is remembered of deploys, or what follows from the archive: the live version, or
        the newest, is wanted, and nothing is known to be served.
        """
        remembered = self._memories.deployment(name)
        if remembered is not None:
            return remembered
        newest = live or next(reversed(self.versions(name)), None)
        return Deployment(wanted=None if newest is None else newest.number)

    def _writes(self, name: str, path: str) -> bool:
        """Whether a certificate that is still wanted writes a file outside the home directory."""
        remembered = self._memories.deployment(name)
        return self._layout.spec(name).exists() and (
            remembered is None or path in remembered.copies
        )

    def _last_version(self, name: str) -> int:
        return max(
            self._memories.last_version(name),
            self._versions.live_number(name) or 0,
            *self._versions.numbers(name),
        )

    def _provider_secrets(self, name: str, provider: str | None) -> Mapping[str, Value]:
        """The secret options of a DNS provider: as the certificate has them now, else as the
        settings do.
        """
        if provider is None:
            return {}
        table = self._settings.table
        prefix = f"dns.{provider}."
        keys = [key for key, each in table.items() if each.secret and key.startswith(prefix)]
        try:
            plugin = self._specs.peek(name).challenge.plugin
        except (UnknownCertificate, ConfigurationError):
            plugin = {}  # a first issue that was cut off has no spec yet
        return {key: plugin.get(key, self._settings.value(key)) for key in keys}


def _with_wanted(deployment: Deployment, number: int) -> Deployment:
    """The deployment with another target; what failed, or was seen, was another version's."""
    return replace(
        deployment, wanted=number, failures=0, last_error=None, retry_at=None, verified_at=None
    )
