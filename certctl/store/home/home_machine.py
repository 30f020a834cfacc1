"""What this machine knows, in a home directory: implements `certctl.store.machine.Machine`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from certctl.model.certificate import Version
from certctl.model.delivery import Deployment, InterruptedCopies, SavedFile
from certctl.model.errors import StoreError
from certctl.model.run import (
    LastAlert,
    OutstandingPostHooks,
    PrintedFailure,
    RunHistory,
    TemporaryFile,
)
from certctl.model.spec import CertificateSpec
from certctl.store.home.imports import Imports
from certctl.store.home.parts import Parts
from certctl.store.home.versions import key_group
from certctl.store.machine import OnMachine
from certctl.system.files import remove_tree, temporary_for, write_atomic
from certctl.system.locks import FileLock


class HomeMachine:
    """Implements `certctl.store.machine.Machine` in one home directory."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._layout = parts.layout

    @property
    def imports(self) -> Imports:
        return self._parts.imports

    def lock(self, name: str, *, timeout: float) -> FileLock:
        subject = f"the live version of {name}"
        return self._parts.lock(self._layout.machine_lock(name), subject, timeout)

    def read(self, name: str) -> OnMachine:
        saved = self._parts.state_files.load_deployments(name)
        deployments = () if saved is None else saved.deployments
        return OnMachine(name, self._parts.versions.live_number(name), deployments)

    def damage(self, version: Version) -> str | None:
        self._parts.state_files.load(version.name)
        return self._parts.damage(version)

    def restore_files(self, name: str, number: int) -> Sequence[str]:
        return self._parts.versions.restore(name, number)

    def flip(self, name: str, number: int) -> None:
        self._parts.versions.restore(name, number)
        self._parts.versions.make_live(name, number)

    def save_deployment(self, name: str, deployment: Deployment) -> None:
        self._parts.state_files.save_deployment(name, deployment)

    def forget(self, name: str) -> None:
        """Remove the live link first: what is deployed is known until nothing is live any more."""
        self._parts.versions.remove_live(name)
        self._parts.state_files.forget_deployment(name)

    def due(self, names: Iterable[str], now: datetime) -> Iterator[str]:
        return self._parts.idle.due_here(names, now)

    def claim_copy(self, path: str, name: str) -> str | None:
        return self._parts.copy_owners.claim(path, name, self._owns_copy)

    def record_copies(self, name: str, files: Sequence[SavedFile]) -> str:
        return self._parts.journal.record_copies(name, files)

    def interrupted_copies(self, name: str) -> Sequence[InterruptedCopies]:
        return self._parts.journal.interrupted_copies(name)

    def names_with_interrupted_copies(self) -> Sequence[str]:
        return self._parts.journal.with_interrupted_copies()

    def record_post_hooks(self, commands: Sequence[str], timeout: float) -> str:
        return self._parts.journal.record_post_hooks(commands, timeout)

    def outstanding_post_hooks(self) -> Sequence[OutstandingPostHooks]:
        return self._parts.journal.outstanding_post_hooks()

    def settle(self, entry: str) -> None:
        self._parts.journal.remove(entry)

    def history(self) -> RunHistory:
        return self._parts.runs.history(self._parts.clock.now())

    def record_run(
        self,
        now: datetime,
        exit_status: int,
        last_alert: LastAlert | None = None,
        printed: Sequence[PrintedFailure] = (),
    ) -> None:
        self._layout.create_directory(self._layout.home)
        self._parts.runs.record(now, exit_status, last_alert, printed)

    def record_external_schedule(self, *, external: bool) -> None:
        self._layout.create_directory(self._layout.home)
        self._parts.runs.record_external(self._parts.clock.now(), external=external)

    def lock_run(self, *, timeout: float) -> FileLock:
        subject = "the right to run pre and post hooks"
        return self._parts.lock(self._layout.run_lock, subject, timeout)

    def lock_port(self, port: int, *, queue: bool, timeout: float) -> FileLock:
        path = self._layout.port_lock(port, queue=queue)
        return self._parts.lock(path, f"port {port}", timeout)

    def check_access(self, spec: CertificateSpec) -> None:
        key_group(spec)
        self._parts.versions.check_links(spec.name)

    def grant_access(self, spec: CertificateSpec) -> None:
        self._parts.versions.set_access(spec)

    def save_refused(self, name: str, download: bytes) -> None:
        path = self._layout.refused(name)
        self._layout.create_directory(path.parent)
        write_atomic(path, download)

    def cached_rows(
        self, names: Iterable[str], now: datetime
    ) -> Mapping[str, Mapping[str, object]]:
        return self._parts.summary_cache.load(names, now)

    def cache_rows(self, rows: Mapping[str, tuple[Mapping[str, object], datetime]]) -> None:
        self._parts.summary_cache.save(rows, self._parts.clock.now())

    def leftovers(self, now: datetime) -> Sequence[TemporaryFile]:
        return self._parts.leftovers.all(now)

    def remove_leftover(self, found: TemporaryFile) -> None:
        path = Path(found.path)
        if not path.is_relative_to(self._layout.home) or temporary_for(path.name) is None:
            raise StoreError(f"{path} is not a temporary file of this home directory")
        if found.name is None:
            remove_tree(path)
            return
        with self._parts.lock_certificate(found.name, 0):
            remove_tree(path)

    def names_with_leftovers(self) -> Sequence[str]:
        return self._parts.leftovers.names()

    def account_file(self, directory_url: str, account: str, *, next_key: bool = False) -> str:
        name = "next-key.pem" if next_key else "key.pem"
        return str(self._layout.accounts_at(directory_url) / account / name)

    def _owns_copy(self, name: str, path: str) -> bool:
        """Return whether a certificate has a spec and writes a file outside the home directory."""
        saved = self._parts.state_files.load_deployments(name)
        written = saved is None or any(path in each.copies for each in saved.deployments)
        return self._layout.spec(name).exists() and written
