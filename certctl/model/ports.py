"""The protocols (interfaces) that operations use; adapters implement them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from threading import Event as StopEvent
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from certctl.model.ca import Account, Endpoint, LedgerEntry
from certctl.model.certificate import Material, PendingOrder, RenewalState, Version
from certctl.model.delivery import (
    CertificateFiles,
    Delivery,
    Deployment,
    InterruptedCopies,
    SavedFile,
)
from certctl.model.run import LastAlert, OutstandingPostHooks, RunHistory, RunSummary, TemporaryFile
from certctl.model.spec import CertificateSpec, ChallengeSpec, CopySpec, ServiceAddress
from certctl.model.status import CertificateStatus
from certctl.model.validation import Leftover, Placement, Task, TxtRecord


class Clock(Protocol):
    """The clock; nothing else in certctl reads the system time."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never go backwards."""
        ...

    def wait(self, stop: StopEvent, seconds: float) -> bool:
        """Sleep until `stop` is set or `seconds` have passed; return whether it is set."""
        ...


class LockPort(Protocol):
    """Locks a port among all certctl processes of a home directory."""

    def __call__(self, port: int, *, queue: bool, timeout: float) -> HeldLock:
        """Return the lock, or with `queue` the lock of the queue; see `Store.lock_port`."""
        ...


class Ask(Protocol):
    """Asks the user at the terminal a yes/no question."""

    def __call__(self, question: str) -> bool | None:
        """Return the answer, or None if there is no terminal."""
        ...


class Instruct(Protocol):
    """Asks the user at the terminal to do something by hand."""

    def __call__(self, instruction: str, /) -> bool:
        """Show it; return True once confirmed as done, False if there is no terminal."""
        ...


class EndpointFactory(Protocol):
    """Runs a CA for the duration of a context, such as the development CA in this process."""

    def __call__(self) -> AbstractContextManager[Endpoint]:
        """Return a context manager that yields the endpoint."""
        ...


class Solver(Protocol):
    """Completes challenges, several at a time: `present`, `cleanup`, and two waits in between.

    Several orders may call `present`, `wait`, `wait_for_validation` and `cleanup` concurrently.
    """

    @property
    def challenge_types(self) -> Sequence[str]:
        """The challenge types that it supports, such as `http-01`; the preferred one first."""
        ...

    def plan(self, task: Task) -> Placement:
        """Return where the response will be placed. Changes nothing; may query DNS or disk."""
        ...

    def present(self, placements: Sequence[Placement]) -> None:
        """Place the responses. If this raises, call `cleanup` to remove those already placed."""
        ...

    def wait(self, placements: Sequence[Placement]) -> None:
        """Return once the CA would see the responses. Raises `ChallengeError` if that takes too
        long.
        """
        ...

    def wait_for_validation(self, placements: Sequence[Placement]) -> None:
        """Return once the CA's requests have arrived, so that polling makes sense; return at once
        if the solver cannot observe them. Never raises.
        """
        ...

    def cleanup(self, placements: Sequence[Placement]) -> None:
        """Remove only these responses. Idempotent; another process may have placed them."""
        ...

    def close(self) -> None:
        """Release sockets and other resources. Idempotent."""
        ...


class DnsProvider(Protocol):
    """Adds and removes TXT values. Other values of the same name are never touched."""

    def present(self, records: Sequence[TxtRecord]) -> None:
        """Add the values."""
        ...

    def cleanup(self, records: Sequence[TxtRecord]) -> None:
        """Remove the values; a value that is already gone is not an error."""
        ...


@runtime_checkable
class CaaWriter(Protocol):
    """A DNS provider that can also add CAA records."""

    def add_caa(
        self, zone: str, name: str, records: Sequence[tuple[int, str, str]], *, ttl: int
    ) -> None:
        """Add records (flags, tag, value) at a name; those that are there stay. Raises
        `certctl.model.errors.ChallengeError`.
        """
        ...


class Alert(Protocol):
    """Sends notifications about scheduled runs. Both methods raise `AlertFailed`; an alert may
    implement only one of them.
    """

    def failed(self, summary: RunSummary) -> bool:
        """Report failures; return False if this alert never reports failures."""
        ...

    def succeeded(self, summary: RunSummary) -> None:
        """Report a successful run; called after each one."""
        ...


class DeployTarget(Protocol):
    """A program on this machine that serves certificates.

    One instance handles all certificates of a run that have the same settings for the program.
    """

    def copies(self, delivery: Delivery) -> Sequence[CopySpec]:
        """Return the copies that the program needs in addition to the files in `live`."""
        ...

    def test(self) -> None:
        """Test the program's configuration and the files it names. Raises
        `certctl.model.errors.CertctlError` if it is invalid or cannot be tested.
        """
        ...

    def reload(self, deliveries: Sequence[Delivery]) -> None:
        """Make the program serve these certificates; called once for all of them, after the test.
        Raises `certctl.model.errors.CertctlError`.
        """
        ...

    def services(self) -> Sequence[ServiceAddress]:
        """Return the addresses on which the program probably listens; empty if unknown. Never
        raises.
        """
        ...


class HeldLock(Protocol):
    """A lock that is held; a context manager that releases it at the end."""

    def __enter__(self) -> Self:
        """Return the lock itself."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release it."""
        ...

    def release(self) -> None:
        """Release the lock. Idempotent."""
        ...


class AccountStore(Protocol):
    """Accounts and their keys."""

    def all(self) -> Sequence[Account]:
        """Return every account, the oldest first."""
        ...

    def key(self, account: Account) -> bytes:
        """Return the account's private key as PEM."""
        ...

    def save(self, account: Account, key: bytes) -> Account:
        """Save a new account and its key; return the account with its `id` set."""
        ...

    def update(self, account: Account) -> None:
        """Save changed details of the account, without its key."""
        ...

    def where(self, account: Account, *, next_key: bool = False) -> str:
        """Return where the account's key, or its next key, is kept, for messages."""
        ...

    def forget(self, account: Account) -> None:
        """Delete the account with its keys and its ledger."""
        ...

    def next_key(self, account: Account) -> bytes | None:
        """Return the new key of a key rollover that was interrupted, if any."""
        ...

    def save_next_key(self, account: Account, key: bytes) -> None:
        """Save the new key of a key rollover, before it is sent to the CA."""
        ...

    def promote_next_key(self, account: Account) -> None:
        """Replace the account's key with the next key, atomically."""
        ...

    def drop_next_key(self, account: Account) -> None:
        """Delete the next key."""
        ...

    def ledger(self, account: Account) -> Sequence[LedgerEntry]:
        """Return the account's recent actions that count against rate limits, the oldest first;
        empty if the ledger cannot be read.
        """
        ...

    def add_to_ledger(
        self, account: Account, entries: Sequence[LedgerEntry], now: datetime
    ) -> None:
        """Add entries, and drop those that no longer count. Best effort: entries may be lost."""
        ...

    def lock(self, directory_url: str, *, exclusive: bool, timeout: float) -> HeldLock:
        """Lock a CA's accounts: shared to place orders; exclusive to register, deactivate or change
        the key. Raises `LockHeld`.
        """
        ...


class Journal(Protocol):
    """What the next run must finish if this one is interrupted: cleanup and post hooks."""

    def record_placements(self, challenge: ChallengeSpec, placements: Sequence[Placement]) -> str:
        """Record placements before they are made, with the settings to remove them; return the id
        of the entry.
        """
        ...

    def leftovers(self, certificate: str) -> Sequence[Leftover]:
        """Return the placements that earlier runs of this certificate did not remove. The caller
        holds the certificate's lock.
        """
        ...

    def save_cleanup(self, leftover: Leftover) -> None:
        """Save the state of the attempts to remove an entry's placements."""
        ...

    def with_leftovers(self) -> Sequence[str]:
        """Return the names of certificates that have placements in the journal."""
        ...

    def record_copies(self, name: str, files: Sequence[SavedFile]) -> str:
        """Record files as they are before copies of a certificate overwrite them; return the id of
        the entry.
        """
        ...

    def interrupted_copies(self, name: str) -> Sequence[InterruptedCopies]:
        """Return the files that interrupted runs left half-written. The caller holds the
        certificate's lock.
        """
        ...

    def with_interrupted_copies(self) -> Sequence[str]:
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

    def remove(self, entry: str) -> None:
        """Remove an entry whose work is done. Idempotent."""
        ...


class Store(Protocol):
    """Persistent storage. Returns values, never paths; a write is durable when the call returns."""

    @property
    def accounts(self) -> AccountStore:
        """The accounts."""
        ...

    @property
    def journal(self) -> Journal:
        """The journal."""
        ...

    def names(self) -> Sequence[str]:
        """Return the names of all certificates that have a spec, sorted."""
        ...

    def names_mentioning(self, value: str) -> Sequence[str]:
        """Return the names of certificates whose spec may contain an identifier, sorted. Fast."""
        ...

    def spec(self, name: str) -> CertificateSpec:
        """Return the spec of a certificate. Raises `UnknownCertificate`, or `ConfigurationError`
        with the file and line.
        """
        ...

    def save_spec(self, spec: CertificateSpec) -> None:
        """Save the spec, keeping the user's comments in the file."""
        ...

    def csr(self, name: str) -> bytes | None:
        """Return the certificate signing request that was given with `--csr`, as PEM."""
        ...

    def save_csr(self, name: str, pem: bytes) -> None:
        """Save a certificate signing request, for renewals."""
        ...

    def status(self, name: str) -> CertificateStatus:
        """Return the current state of a certificate. State that cannot be read is rebuilt from the
        archive, and the certificate then counts as not deployed.
        """
        ...

    def possibly_due(self, names: Iterable[str], now: datetime) -> Iterator[str]:
        """Yield the names that may need work, reading one small file for each.

        A name is left out only if its renewal state says that nothing is due yet, and neither the
        spec, the defaults nor the live version have changed since that was written.
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

    def save_renewal_state(
        self, name: str, renewal_state: RenewalState, *, next_action_at: datetime | None
    ) -> None:
        """Save the renewal state, with the time before which `renew` can skip the certificate."""
        ...

    def save_deployment(self, name: str, deployment: Deployment) -> None:
        """Save the state of the deployment."""
        ...

    def claim_copy(self, path: str, name: str) -> str | None:
        """Record `name` as the owner of a copy outside the home directory. Returns None, or the
        name of the certificate that already owns it, which then keeps it.
        """
        ...

    def versions(self, name: str) -> Sequence[Version]:
        """Return the archived versions, the oldest first."""
        ...

    def material(self, name: str, number: int, *, with_key: bool = True) -> Material:
        """Return the PEM bytes of a version; the key fits the certificate. Raises `FilesDamaged` if
        they are not all in its files. A missing key is an error only if `with_key`.
        """
        ...

    def restore_files(self, name: str, number: int) -> Sequence[str]:
        """Restore the damaged files of a version from its other files, and return their names; the
        caller holds the lock. Raises `FilesDamaged` if that is not possible.
        """
        ...

    def save_version(self, spec: CertificateSpec, version: Version, material: Material) -> Version:
        """Archive a version under the next number (never reused), and make it wanted and live.
        Returns it with its number.
        """
        ...

    def activate(self, name: str, number: int) -> None:
        """Make an archived version wanted and live. Its damaged files are restored first, as in
        `restore_files`.
        """
        ...

    def revert_live(self, name: str, number: int) -> None:
        """Make an archived version live; the wanted version stays, and counts as not deployed."""
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

    def prune(self, name: str, keep: int) -> None:
        """Remove the oldest versions beyond `keep`, except those live, wanted or deployed."""
        ...

    def delete(self, name: str) -> None:
        """Delete the certificate, its spec first. Its version numbers are not reused."""
        ...

    def pending(self, name: str) -> PendingOrder | None:
        """Return the first order in progress, if any."""
        ...

    def pending_orders(self, name: str) -> Sequence[PendingOrder]:
        """Return the orders in progress, at most one for each CA and key type."""
        ...

    def save_pending(self, name: str, pending: PendingOrder) -> None:
        """Save the order that is about to be placed, or its URL once known, in place of the one
        for the same CA and key type.
        """
        ...

    def drop_pending(self, name: str) -> None:
        """Delete the saved orders."""
        ...

    def save_refused(self, name: str, download: bytes) -> None:
        """Save a rejected download for inspection; replaces the previous one."""
        ...

    def history(self) -> RunHistory:
        """Return the recent scheduled runs of `renew`; empty if they cannot be read."""
        ...

    def record_run(
        self, now: datetime, exit_status: int, last_alert: LastAlert | None = None
    ) -> None:
        """Record a scheduled run of `renew` that ended at `now`, and the last alert. None clears
        the alert.
        """
        ...

    def record_external_schedule(self, *, external: bool) -> None:
        """Record whether something other than certctl's own timer or cron job runs `renew`."""
        ...

    def lock(self, name: str, *, timeout: float) -> HeldLock:
        """Lock a certificate, waiting up to `timeout` seconds; also removes temporary files that a
        crash left behind. Raises `LockHeld`.
        """
        ...

    def check_spec_file(self, name: str) -> None:
        """Check that the file of a spec can be read, without parsing it. Raises
        `UnknownCertificate`, `ConfigurationError` and `StoreError`.
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

    def names_without_spec(self) -> Sequence[str]:
        """Return the certificates that have versions, but no spec, so that they are not renewed."""
        ...

    def lock_run(self, *, timeout: float) -> HeldLock:
        """Lock the pre and post hooks, which only one run may execute at a time."""
        ...

    def lock_port(self, port: int, *, queue: bool, timeout: float) -> HeldLock:
        """Lock a port for this process, or with `queue` the place of the process that is next in
        line. Raises `LockHeld`.
        """
        ...


class Tree(Protocol):
    """The files in the home directory that other programs read or that users install."""

    @property
    def home(self) -> str:
        """The home directory."""
        ...

    def files(self, version: Version) -> CertificateFiles:
        """Return the paths of a version's files, and its certificate's live directory."""
        ...

    def hooks(self, event: str) -> Sequence[str]:
        """Return the executables in `hooks/EVENT.d`, sorted by byte value. Raises
        `ConfigurationError` if one has unsafe permissions.
        """
        ...
