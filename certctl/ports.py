"""The protocols (interfaces) that operations use; adapters implement them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from threading import Event as StopEvent
from types import TracebackType
from typing import Protocol, Self

from certctl.models import (
    Account,
    CertificateFiles,
    CertificateSpec,
    CertificateStatus,
    ChallengeSpec,
    CopySpec,
    Delivery,
    Deployment,
    Endpoint,
    LastAlert,
    LedgerEntry,
    Leftover,
    Material,
    OutstandingPostHooks,
    PendingOrder,
    Placement,
    RenewalState,
    RunHistory,
    RunSummary,
    ServiceAddress,
    Task,
    TxtRecord,
    Version,
)


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
    """Answers challenges, several at a time: `present`, `cleanup`, and two waits in between.

    Several orders may call `present`, `wait`, `wait_for_validation` and `cleanup` concurrently.
    """

    @property
    def challenge_types(self) -> Sequence[str]:
        """The challenge types that it answers, such as `http-01`; the preferred one first."""
        ...

    def plan(self, task: Task) -> Placement:
        """Return where the answer will be put. Changes nothing; may query the DNS or the disk."""
        ...

    def present(self, placements: Sequence[Placement]) -> None:
        """Put the answers in place. On an error, what was put is still cleaned up by `cleanup`."""
        ...

    def wait(self, placements: Sequence[Placement]) -> None:
        """Return once the CA would see the answers. Raises `ChallengeError` if that takes too
        long.
        """
        ...

    def wait_for_validation(self, placements: Sequence[Placement]) -> None:
        """Return once the CA's requests have arrived, so that polling makes sense; return at once
        if the solver cannot observe them. Never raises.
        """
        ...

    def cleanup(self, placements: Sequence[Placement]) -> None:
        """Remove the answers, and only those; also after a crash of another process, and twice."""
        ...

    def close(self) -> None:
        """Give back what is held open; safe to call twice."""
        ...


class DnsProvider(Protocol):
    """Writes TXT records; the two verbs. Others' values at the same name are never touched."""

    def present(self, records: Sequence[TxtRecord]) -> None:
        """Add the values."""
        ...

    def cleanup(self, records: Sequence[TxtRecord]) -> None:
        """Remove the values; one that is gone already is no failure."""
        ...


class Alert(Protocol):
    """Lets somebody hear how runs end that nobody watched; the two verbs, of which an alert may
    leave one empty. Both raise `AlertFailed`.
    """

    def failed(self, summary: RunSummary) -> bool:
        """Tell of failures; return whether this is an alert that tells of failures at all."""
        ...

    def succeeded(self, summary: RunSummary) -> None:
        """Tell of a good run, each time."""
        ...


class DeployTarget(Protocol):
    """A program of this machine that serves certificates: what it wants, and two verbs. One serves
    all certificates of a run that have the same settings for it.
    """

    def copies(self, delivery: Delivery) -> Sequence[CopySpec]:
        """Return the files that it wants beside those in `live`; they are written for it."""
        ...

    def test(self) -> None:
        """Return where the program would load its configuration, and all files named in it. Raises
        `certctl.errors.CertctlError` where it would not, or where that cannot be told.
        """
        ...

    def reload(self, deliveries: Sequence[Delivery]) -> None:
        """Make it serve these; called once for all of them, after the test. Raises
        `certctl.errors.CertctlError`.
        """
        ...

    def services(self) -> Sequence[ServiceAddress]:
        """Return where it is likely to listen on this machine; empty where that is not known. Never
        raises.
        """
        ...


class HeldLock(Protocol):
    """A lock that is held. Leaving its context releases it."""

    def __enter__(self) -> Self:
        """Return the lease itself."""
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
        """Give the lock back; safe to call twice."""
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
        """Write a new account and its key durably; return it with its `id` filled in."""
        ...

    def update(self, account: Account) -> None:
        """Write what is known of the account; the key stays."""
        ...

    def next_key(self, account: Account) -> bytes | None:
        """Return the key that a roll-over which was cut off was changing to, if there is one."""
        ...

    def save_next_key(self, account: Account, key: bytes) -> None:
        """Keep the key that a roll-over is about to change to, before the CA hears of it."""
        ...

    def promote_next_key(self, account: Account) -> None:
        """Make the next key the account's key, in one step."""
        ...

    def drop_next_key(self, account: Account) -> None:
        """Forget the next key."""
        ...

    def ledger(self, account: Account) -> Sequence[LedgerEntry]:
        """Return what was asked of the CA for an account lately, the oldest first; nothing where
        that cannot be read.
        """
        ...

    def add_to_ledger(self, account: Account, asked: Sequence[LedgerEntry], now: datetime) -> None:
        """Add to what was asked, and forget what counts nowhere any more. A convenience, of which
        a part may be lost.
        """
        ...

    def lock(self, directory_url: str, *, exclusive: bool, timeout: float) -> HeldLock:
        """Lock a CA's accounts: shared to order, exclusive to register, roll or deactivate. Raises
        `LockHeld`.
        """
        ...


class Journal(Protocol):
    """What must be undone if this run is cut off: placements, and a `pre` hook that wants its
    `post`.
    """

    def record_placements(self, challenge: ChallengeSpec, placements: Sequence[Placement]) -> str:
        """Write placements down before they are made, with what is needed to undo them; return the
        entry's id.
        """
        ...

    def leftovers(self, certificate: str) -> Sequence[Leftover]:
        """Return what earlier runs of this certificate left behind; call it with the certificate
        locked.
        """
        ...

    def with_leftovers(self) -> Sequence[str]:
        """Return the names of certificates for which something is placed, or was left behind."""
        ...

    def record_post_hooks(self, commands: Sequence[str], timeout: float) -> str:
        """Write down the post hooks that must follow the pre hooks about to run; return the
        entry's id.
        """
        ...

    def outstanding_post_hooks(self) -> Sequence[OutstandingPostHooks]:
        """Return the post hooks that earlier runs did not get to; call it with the run locked."""
        ...

    def remove(self, entry: str) -> None:
        """Remove an entry: what it said is done; safe to call twice."""
        ...


class Store(Protocol):
    """Everything that lasts. Returns values, never paths; every write is durable when the call
    returns.
    """

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
        """Return the names of certificates whose spec may hold an identifier, sorted; quickly."""
        ...

    def spec(self, name: str) -> CertificateSpec:
        """Return what is wanted. Raises `UnknownCertificate`, or `ConfigurationError` naming file
        and line.
        """
        ...

    def save_spec(self, spec: CertificateSpec) -> None:
        """Write the spec; comments and keys that people put into the file stay."""
        ...

    def csr(self, name: str) -> bytes | None:
        """Return the certificate signing request that was given with `--csr`, as PEM."""
        ...

    def save_csr(self, name: str, pem: bytes) -> None:
        """Keep a certificate signing request for renewals."""
        ...

    def status(self, name: str) -> CertificateStatus:
        """Return what is. Memory that cannot be read is rebuilt from the archive, and the deploy
        is then owed.
        """
        ...

    def possibly_due(self, names: Iterable[str], now: datetime) -> Iterator[str]:
        """Yield the names that something may have to be done for, reading one small file for each.

        A name is left out only where its memory says that the time has not come, and the spec, the
        defaults and the live version are those that the memory was written with.
        """
        ...

    def cached_rows(
        self, names: Iterable[str], now: datetime
    ) -> Mapping[str, Mapping[str, object]]:
        """Return what `cache_rows` was given, by the certificate's name: of those of which nothing
        has changed since, and whose time has not come.
        """
        ...

    def cache_rows(self, rows: Mapping[str, tuple[Mapping[str, object], datetime]]) -> None:
        """Keep plain JSON for certificates that `rows` was just asked for, each with the time
        until which it holds. A convenience, which may be lost.
        """
        ...

    def save_renewal_state(
        self, name: str, renewal_state: RenewalState, *, next_action_at: datetime | None
    ) -> None:
        """Write the renewal memory, with the time before which `renew` need not look at this
        certificate.
        """
        ...

    def save_deployment(self, name: str, deployment: Deployment) -> None:
        """Write what this machine serves."""
        ...

    def claim_copy(self, path: str, name: str) -> str | None:
        """Note that a file outside the home directory is written for `name`; return None, or the
        name of another certificate that it is written for, which then stays so.
        """
        ...

    def versions(self, name: str) -> Sequence[Version]:
        """Return the archived versions, the oldest first."""
        ...

    def material(self, name: str, number: int) -> Material:
        """Return the PEM bytes of a version."""
        ...

    def save_version(self, spec: CertificateSpec, version: Version, material: Material) -> Version:
        """Archive a version under the next number (never reused), make it target and live; return
        it numbered.
        """
        ...

    def activate(self, name: str, number: int) -> None:
        """Make an archived version the target and flip `live` to it."""
        ...

    def revert_live(self, name: str, number: int) -> None:
        """Flip `live` to an archived version without wanting it: the target stays, and is owed."""
        ...

    def check_access(self, spec: CertificateSpec) -> None:
        """Return where keys can be given to whom the spec names. Raises `ConfigurationError`."""
        ...

    def grant_access(self, spec: CertificateSpec) -> None:
        """Let whom the spec names read the keys of all versions; where it names nobody, nothing
        changes.
        """
        ...

    def prune(self, name: str, keep: int) -> None:
        """Remove the oldest versions beyond `keep`; never live, target or deployed."""
        ...

    def delete(self, name: str) -> None:
        """Remove the certificate, its spec first; its next version's number is remembered."""
        ...

    def pending(self, name: str) -> PendingOrder | None:
        """Return the order that is under way, if any."""
        ...

    def save_pending(self, name: str, pending: PendingOrder) -> None:
        """Write the order that is about to be placed, or its URL once it is known."""
        ...

    def drop_pending(self, name: str) -> None:
        """Forget the order that was under way."""
        ...

    def save_refused(self, name: str, download: bytes) -> None:
        """Keep a download that was refused, for a person to look at; the next one replaces it."""
        ...

    def history(self) -> RunHistory:
        """Return when `renew` ran by itself lately; nothing where that cannot be read."""
        ...

    def record_run(
        self, now: datetime, exit_status: int, last_alert: LastAlert | None = None
    ) -> None:
        """Write down that `renew` ran by itself until `now`, how it ended, and what a person has
        been told of, which is forgotten otherwise.
        """
        ...

    def lock(self, name: str, *, timeout: float) -> HeldLock:
        """Lock a certificate, waiting `timeout` seconds; also removes what a crash left. Raises
        `LockHeld`.
        """
        ...

    def lock_run(self, *, timeout: float) -> HeldLock:
        """Lock what only one run may do at a time: pre and post hooks."""
        ...

    def lock_port(self, port: int, *, queue: bool, timeout: float) -> HeldLock:
        """Lock the turn of this process at a port, or with `queue` the place of whoever is next.
        Raises `LockHeld`.
        """
        ...


class Tree(Protocol):
    """The local directories that proxies read."""

    @property
    def home(self) -> str:
        """The home directory."""
        ...

    def files(self, version: Version) -> CertificateFiles:
        """Return where the files of a version lie, and the live directory of its certificate."""
        ...

    def hooks(self, event: str) -> Sequence[str]:
        """Return the executables of `hooks/EVENT.d`, in byte order. Raises `ConfigurationError`
        for unsafe ones.
        """
        ...
