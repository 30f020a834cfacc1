"""The port `records`: what several machines may share about certificates and accounts.

Specs, versions, orders in progress, renewal state, accounts, their ledgers, and where challenge
responses were placed. What only one machine knows (the live link, deployments, hooks) is in
`certctl.store.machine`. Implemented by `certctl.store.home` with files, and by
`certctl.store.memory`; one suite of tests (`tests/unit/test_store_records.py`) holds for both.

A certificate is changed by whoever holds its lease: take the lease, read once, carry the values,
and write each change through. A write names what it starts from (`expect`) and the lease
(`token`), and is refused if either is out of date.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime
from typing import NewType, Protocol

from certctl.model.ca import Account, LedgerEntry
from certctl.model.certificate import Material, PendingOrder, RenewalState, Version
from certctl.model.errors import CertctlError, Conflict, Fenced, UnknownCertificate
from certctl.model.lazy_dataclass import dataclass
from certctl.model.ports import HeldLock
from certctl.model.spec import CertificateSpec, ChallengeSpec
from certctl.model.validation import Leftover, Placement

Gen = NewType("Gen", str)
"""The state of a certificate's documents. Opaque: only the store that returned it can compare it.

A write conflicts only over the documents that it changes: a user who edits the spec while an order
waits for DNS does not prevent the order's URL from being saved.
"""

NOTHING = Gen("")
"""The state of a certificate of which nothing is stored."""

LONGEST_LEASE = 600.0
"""Seconds after which a lease ends that was not renewed, where its holder's end is not noticed."""


@dataclass(frozen=True)
class Token:
    """Identifies a lease: a later one on the same subject has a greater `(epoch, number)`.

    `epoch` is raised when a store is restored or promoted, so that no earlier lease is valid.
    """

    epoch: int
    number: int


@dataclass(frozen=True)
class Subject:
    """What a lease protects: the certificate `name`, or the accounts at the CA `directory_url`."""

    name: str | None = None
    directory_url: str | None = None

    def __str__(self) -> str:
        """Return the subject as it is named in messages."""
        return self.name or f"the account at {self.directory_url}"


class Lease(HeldLock, Protocol):
    """The right to change what its subject stands for, until it is released or expires."""

    @property
    def token(self) -> Token:
        """What writes are made with."""
        ...

    def renew(self) -> None:
        """Extend the lease by its duration. Raises `Fenced` if it has been lost."""
        ...


@dataclass(frozen=True)
class Stored:
    """Everything that is stored about a certificate, as of one read.

    `spec` is None while its first order is in progress, after `delete`, and if it cannot be read
    (`spec_error`). `renewal_state` is as it was written at `saved_at`:
    `certctl.rules.current_state` leaves out what a wrong clock has written. `versions` has the
    archived versions by number, ascending; it may read a version's details when they are asked
    for, since they never change. `numbers` also has those that cannot be parsed. `last_version` is
    the highest number ever used; like `renewal_state.compromised_keys`, it is kept after the
    certificate is deleted. `csr` is the signing request that the spec names, as PEM.
    """

    name: str
    spec: CertificateSpec | None = None
    spec_error: CertctlError | None = None
    csr: bytes | None = None
    renewal_state: RenewalState = field(default_factory=RenewalState)
    saved_at: datetime | None = None
    orders: tuple[PendingOrder, ...] = ()
    versions: Mapping[int, Version] = field(default_factory=dict)
    numbers: tuple[int, ...] = ()
    last_version: int = 0
    gen: Gen = NOTHING

    def require_spec(self) -> CertificateSpec:
        """Return the spec. Raises `spec_error`, or `UnknownCertificate` if there is none."""
        if self.spec is not None:
            return self.spec
        raise self.spec_error or UnknownCertificate(
            f"there is no certificate named {self.name!r}",
            hint="To see all certificates, run: certctl list",
            name=self.name,
        )

    def after(self, changes: Changes, gen: Gen) -> Stored:
        """Return what is stored after these changes have been written as the generation `gen`."""
        state, orders = changes.renewal_state, changes.orders
        return replace(
            self,
            csr=changes.csr or self.csr,
            spec=changes.spec or self.spec,
            spec_error=self.spec_error if changes.spec is None else None,
            renewal_state=self.renewal_state if state is None else state,
            orders=self.orders if orders is None else orders,
            gen=gen,
        )

    def version_of(self, order_urls: Collection[str | None]) -> Version | None:
        """Return the version that has a certificate of one of these orders, if there is one."""
        urls: set[str | None] = {each for each in order_urls if each is not None}
        # the newest first: nearly always it is that one, and no other has to be read
        for number in reversed(self.numbers or tuple(self.versions)) if urls else ():
            version = self.versions.get(number)
            if version is not None and not urls.isdisjoint(
                each.order_url for each in version.certificates
            ):
                return version
        return None


@dataclass(frozen=True)
class ListRow:
    """What `list` shows of a certificate, as plain JSON: valid until a time, as long as nothing
    changes that it was made from.
    """

    values: Mapping[str, object]
    until: datetime


@dataclass(frozen=True)
class NextAction:
    """The time before which `renew` has nothing to do; None if only a change can give it work.

    `row` is what `list` shows of the certificate meanwhile. A store may drop it.
    """

    at: datetime | None
    row: ListRow | None = None


@dataclass(frozen=True)
class Changes:
    """What a write changes; what is None stays as it is.

    `orders` are those in progress afterwards, one for each CA and key type: an empty tuple drops
    them. Without `next_action`,
    the certificate counts as possibly due until a later write has one. A `renewal_state` is always
    written with `next_action`, or without one.
    """

    csr: bytes | None = None
    spec: CertificateSpec | None = None
    renewal_state: RenewalState | None = None
    next_action: NextAction | None = None
    orders: tuple[PendingOrder, ...] | None = None


@dataclass(frozen=True)
class AccountKeys:
    """An account's private key as PEM, and the new one of a key rollover that is not finished."""

    current: bytes = field(repr=False)
    next: bytes | None = field(default=None, repr=False)


class Records(Protocol):
    """What machines may share. Returns values, never paths.

    A write is durable when the call returns, except for what can be lost without harm, because it
    is only found out or done again: the result of a renewal without a new revocation, a dropped
    order, a settled placement, a row of a ledger. Methods can be called from several threads.
    """

    def names(self, after: str = "", limit: int | None = None) -> Sequence[str]:
        """Return the names of certificates that have a spec, sorted, from the first one behind
        `after`, at most `limit`.
        """
        ...

    def due(self, now: datetime, after: str = "", limit: int | None = None) -> Iterator[str]:
        """Yield the names that may need work, as `names` does.

        Left out is a certificate without failures and orders in progress whose next action is
        later than `now`, as long as neither its spec nor the defaults have changed.
        """
        ...

    def find(self, identifier: str) -> Sequence[str]:
        """Return the names of certificates whose spec may contain an identifier, sorted. Fast."""
        ...

    def read(self, name: str) -> Stored | None:
        """Return everything that is stored about a certificate, None if that is nothing.

        State that cannot be parsed counts as missing, with a warning. Raises `StoreError` if it
        cannot be read.
        """
        ...

    def spec(self, name: str) -> CertificateSpec:
        """Return the spec alone. Raises `UnknownCertificate`, `ConfigurationError`."""
        ...

    def check_spec(self, name: str) -> None:
        """Check that the spec can be read, without parsing it. Raises as `spec` does."""
        ...

    def names_without_spec(self) -> Sequence[str]:
        """Return the certificates that have versions, but no spec, so that they are not renewed."""
        ...

    def summaries(self, names: Sequence[str]) -> Mapping[str, Stored]:
        """Return what `read` does for many certificates, without private keys and signing requests.
        Those of which nothing is stored are left out.
        """
        ...

    def write(self, name: str, changes: Changes, *, expect: Gen, token: Token) -> Gen:
        """Write the changes, and return the new state of the certificate.

        Each document is written completely or not at all, in the order signing request, spec,
        renewal state, orders; a reader accepts any first part of them. What has not changed is not
        written. Raises `Conflict` if one of these documents is not in the state `expect`, `Fenced`
        if the lease was lost, `StoreError`; nothing further has then been written.
        """
        ...

    def add_version(
        self, name: str, version: Version, material: Material, *, token: Token
    ) -> Version:
        """Archive a version under the next number, and return it with its number. It is not live.

        A number is never used again. If there is a version of the same order, it is returned as it
        is: nothing is archived twice. The key must belong to the certificate. Raises `Fenced`,
        `FilesDamaged`, `StoreError`.
        """
        ...

    def material(self, name: str, number: int, *, with_key: bool = True) -> Material:
        """Return the PEM bytes of a version; the key fits the certificate. Raises `FilesDamaged` if
        they are not all there, `UnknownCertificate`. A missing key is an error only if `with_key`.
        """
        ...

    def remove_versions(self, name: str, numbers: Sequence[int], *, token: Token) -> None:
        """Remove archived versions. The caller keeps those that are live, wanted or deployed
        anywhere. Raises `Fenced`.
        """
        ...

    def delete(self, name: str, *, expect: Gen, token: Token) -> None:
        """Delete a certificate, its spec first, so that it is not renewed when half is gone.

        Its last version number and the digests of compromised keys are kept. Raises as `write`.
        """
        ...

    def lease(
        self, subject: Subject, *, shared: bool = False, ttl: float = LONGEST_LEASE, wait: float
    ) -> Lease:
        """Return a lease of `ttl` seconds, waiting for it up to `wait` seconds.

        A certificate has one holder. A CA's accounts have several that are `shared`, to place
        orders, or one, to register, to deactivate or to change the key. A lease that is not renewed
        in time is lost, unless the store notices the end of its holder, as it does with files.
        Raises `LockHeld`, `Interrupted`.
        """
        ...

    def accounts(self, directory_url: str | None = None) -> Sequence[Account]:
        """Return the accounts at a CA, or all, the oldest first."""
        ...

    def account_keys(self, account: Account) -> AccountKeys:
        """Return the account's private keys."""
        ...

    def save_account(
        self, account: Account, keys: AccountKeys | None, *, expect: Account | None, token: Token
    ) -> Account:
        """Save an account, and return it with its `id` set; without `keys`, they stay.

        `expect` is the account as it was read, None for a new one. If `keys.current` is the
        `next` key that is stored, that one takes its place at once. Raises as `write` does.
        """
        ...

    def forget_account(self, account: Account, *, token: Token) -> None:
        """Delete the account with its keys and its ledger. Raises `Fenced`."""
        ...

    def note(self, account: Account, rows: Sequence[LedgerEntry]) -> None:
        """Add to what was asked of the CA for an account, and drop what no longer counts. Best
        effort: rows may be lost.
        """
        ...

    def asked(self, account: Account) -> Sequence[LedgerEntry]:
        """Return what was asked of the CA and counts against its rate limits, the oldest first;
        empty if that cannot be read.
        """
        ...

    def place(self, challenge: ChallengeSpec, placements: Sequence[Placement]) -> str:
        """Record placements of one certificate before they are made, with the settings to remove
        them; return the id of the entry.
        """
        ...

    def placements(self, name: str) -> Sequence[Leftover]:
        """Return the placements of a certificate that were not removed. The caller holds its
        lease.
        """
        ...

    def postpone(self, leftover: Leftover) -> None:
        """Save the state of the attempts to remove an entry's placements."""
        ...

    def settle(self, entry: str) -> None:
        """Remove an entry whose placements are gone. Idempotent."""
        ...

    def names_with_placements(self) -> Sequence[str]:
        """Return the names of certificates that have placements, sorted."""
        ...

    def changes(self, cursor: str = "", wait: float = 0.0) -> tuple[Sequence[str], str]:
        """Return the names of certificates that have changed since `cursor`, and a new cursor.

        Waits up to `wait` seconds for a change. All names if the cursor is empty or too old.
        """
        ...


def conflict(name: str, what: str) -> Conflict:
    """Return the error for a document of a certificate that has changed since it was read."""
    return Conflict(
        f"{what} of {name} has changed in the meantime, so it was not saved",
        hint="Run the same command again. It starts from what is stored now.",
        name=name,
    )


def fenced(subject: Subject) -> Fenced:
    """Return the error for a lease that was lost."""
    return Fenced(
        f"the lock on {subject} was lost, and another process may hold it; nothing was saved",
        hint="Run the same command again. It resumes what is unfinished.",
        name=subject.name,
    )
