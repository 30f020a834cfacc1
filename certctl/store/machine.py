"""The port `machine`: what only this machine knows about the certificates that it serves.

The live links, deployments, copies outside the home directory, hooks that are outstanding, the
history of runs, and whose turn it is at a port. What machines may share is in
`certctl.store.records`. Where both are locked, the lease of the records comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from certctl.model.certificate import Version
from certctl.model.delivery import Deployment, InterruptedCopies, SavedFile
from certctl.model.lazy_dataclass import dataclass
from certctl.model.ports import HeldLock, Imports
from certctl.model.run import (
    LastAlert,
    OutstandingPostHooks,
    PrintedFailure,
    RunHistory,
    TemporaryFile,
)
from certctl.model.spec import CertificateSpec


@dataclass(frozen=True)
class OnMachine:
    """The state of a certificate on this machine, as of one read.

    `live` is the number of the version that the live link points to. `deployments` has at most one
    element for each destination. If that of this machine is missing or cannot be parsed, it follows
    from the versions, and counts as pending.
    """

    name: str
    live: int | None = None
    deployments: tuple[Deployment, ...] = ()


class CertificateMachine(Protocol):
    """The live version and the deployments of single certificates.

    A write is durable when the call returns, except for results of a deployment: if one is lost, it
    is only deployed again.
    """

    def lock(self, name: str, *, timeout: float) -> HeldLock:
        """Lock the live link and the deployment of a certificate, waiting up to `timeout` seconds.
        Raises `LockHeld`.
        """
        ...

    def read(self, name: str) -> OnMachine:
        """Return the state of a certificate. Raises `StoreCorrupt` if the live link is something
        other than a link.
        """
        ...

    def damage(self, version: Version) -> str | None:
        """Return what is wrong with the files of a version, None if they are intact. They are read
        only if they have changed since they were last found intact.
        """
        ...

    def restore_files(self, name: str, number: int) -> Sequence[str]:
        """Restore the damaged files of a version from its other files, and return their names.
        Raises `FilesDamaged` if that is not possible.
        """
        ...

    def flip(self, name: str, number: int) -> None:
        """Make a version live atomically. Damaged files are restored first, as in `restore_files`.
        Raises `UnknownCertificate`, `FilesDamaged`.
        """
        ...

    def save_deployment(self, name: str, deployment: Deployment) -> None:
        """Save the state of a deployment, in place of the one at the same destination."""
        ...

    def forget(self, name: str) -> None:
        """Remove the live link and the states of all deployments. Idempotent."""
        ...

    def check_access(self, spec: CertificateSpec) -> None:
        """Raise `ConfigurationError` if the key group and mode of the spec cannot be applied, or if
        no version could be made live.
        """
        ...

    def grant_access(self, spec: CertificateSpec) -> None:
        """Apply the key group and mode of the spec to the private keys of all versions; without
        them, change nothing.
        """
        ...

    def save_refused(self, name: str, download: bytes) -> None:
        """Save a rejected download for inspection; replaces the previous one."""
        ...


class Machine(CertificateMachine, Protocol):
    """Everything that only this machine knows."""

    @property
    def imports(self) -> Imports:
        """The records of certificates taken over from other clients of this machine."""
        ...

    def due(self, names: Iterable[str], now: datetime) -> Iterator[str]:
        """Yield the names for which this machine may have work: a deployment is pending, or the
        live version, its files or the deployment have changed since the next action was saved.
        """
        ...

    def claim_copy(self, path: str, name: str) -> str | None:
        """Record `name` as the owner of a copy outside the home directory. Returns None, or the
        name of the certificate that already owns it, which then keeps it.
        """
        ...

    def record_copies(self, name: str, files: Sequence[SavedFile]) -> str:
        """Record files as they are before copies of a certificate overwrite them; return the id of
        the entry.
        """
        ...

    def interrupted_copies(self, name: str) -> Sequence[InterruptedCopies]:
        """Return the files that interrupted runs left half-written. The caller holds the lock."""
        ...

    def names_with_interrupted_copies(self) -> Sequence[str]:
        """Return the names of certificates that have half-written copies."""
        ...

    def record_post_hooks(self, commands: Sequence[str], timeout: float) -> str:
        """Record the post hooks that belong to the pre hooks about to run; return the id of the
        entry.
        """
        ...

    def outstanding_post_hooks(self) -> Sequence[OutstandingPostHooks]:
        """Return the post hooks that earlier runs did not run. The caller holds the run lock."""
        ...

    def settle(self, entry: str) -> None:
        """Remove an entry of copies or post hooks whose work is done. Idempotent."""
        ...

    def history(self) -> RunHistory:
        """Return the recent scheduled runs of `renew`; empty if they cannot be read."""
        ...

    def record_run(
        self,
        now: datetime,
        exit_status: int,
        last_alert: LastAlert | None = None,
        printed: Sequence[PrintedFailure] = (),
    ) -> None:
        """Record a scheduled run of `renew` that ended at `now`, the last alert, and the failures
        that were printed. What is left out is cleared.
        """
        ...

    def record_external_schedule(self, *, external: bool) -> None:
        """Record whether something that certctl did not install runs `renew` on a schedule."""
        ...

    def lock_run(self, *, timeout: float) -> HeldLock:
        """Lock the pre and post hooks, which only one run may execute at a time."""
        ...

    def lock_port(self, port: int, *, queue: bool, timeout: float) -> HeldLock:
        """Lock a port for this process, or with `queue` the place of the process that is next in
        line. Raises `LockHeld`.
        """
        ...

    def cached_rows(
        self, names: Iterable[str], now: datetime
    ) -> Mapping[str, Mapping[str, object]]:
        """Return the cached rows by certificate name, without those that have expired or whose
        certificate has changed.
        """
        ...

    def cache_rows(self, rows: Mapping[str, tuple[Mapping[str, object], datetime]]) -> None:
        """Cache rows of plain JSON, each with its expiry time, for names that were just passed to
        `cached_rows`. Best effort: rows may be lost.
        """
        ...

    def leftovers(self, now: datetime) -> Sequence[TemporaryFile]:
        """Return the temporary files and directories that killed processes left behind."""
        ...

    def remove_leftover(self, found: TemporaryFile) -> None:
        """Remove one that `leftovers` returned. Raises `LockHeld` if another process works on its
        certificate, `StoreError`.
        """
        ...

    def names_with_leftovers(self) -> Sequence[str]:
        """Return the certificates, also deleted ones, with temporary files outside their own
        directories.
        """
        ...

    def account_file(self, directory_url: str, account: str, *, next_key: bool = False) -> str:
        """Return where an account's key, or its next key, is kept on this machine, for messages."""
        ...
