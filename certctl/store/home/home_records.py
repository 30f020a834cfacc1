"""What machines may share, in a home directory: implements `certctl.store.records.Records`.

This module decides the order of writes. After a crash between any two of them, the next run can see
what is left to do. The state of a spec is its digest, since users edit it; that of a document that
only certctl writes, by rename, is its file's signature. A lease is a lock on a file: the kernel
releases it when its process ends, so it does not expire.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from certctl.model.certificate import Material, PendingOrder, RenewalState, Version
from certctl.model.errors import CertctlError, Interrupted, UnknownCertificate
from certctl.model.lazy_dataclass import dataclass
from certctl.rules import integrity
from certctl.rules.spec import to_table
from certctl.store.home.contents import MISSING
from certctl.store.home.documents import require_not_newer
from certctl.store.home.idle import Signature, file_signature
from certctl.store.home.parts import Parts
from certctl.store.records import (
    LONGEST_LEASE,
    NOTHING,
    AccountKeys,
    Changes,
    Gen,
    Stored,
    Subject,
    Token,
    conflict,
    fenced,
)
from certctl.system.core_dumps import forbid_core_dumps
from certctl.system.files import Sync
from certctl.system.locks import FileLock

if TYPE_CHECKING:
    from datetime import datetime

    from certctl.model.ca import Account, LedgerEntry
    from certctl.model.spec import CertificateSpec, ChallengeSpec
    from certctl.model.validation import Leftover, Placement

_PAUSE = 0.5
"""Seconds between two scans for changes."""

_EPOCH = 0


class _Headers(Mapping[int, Version]):
    """The versions of a certificate, each read when it is asked for. One that cannot be parsed
    counts as missing, with a warning.
    """

    def __init__(self, name: str, parts: Parts) -> None:
        self._name = name
        self._parts = parts
        self.numbers = tuple(parts.versions.numbers(name))
        self._read: dict[int, Version | None] = {}

    def __getitem__(self, number: int) -> Version:
        if number not in self._read:
            known = number in self.numbers
            self._read[number] = (
                self._parts.versions.read_or_warn(self._name, number) if known else None
            )
        found = self._read[number]
        if found is None:
            raise KeyError(number)
        return found

    def __iter__(self) -> Iterator[int]:
        return (number for number in self.numbers if self.get(number) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True)
class _States:
    """The states of a certificate's documents, of which a generation consists."""

    spec: str
    renewal: str
    orders: str

    @property
    def gen(self) -> Gen:
        """The generation."""
        return Gen(f"{self.spec} {self.renewal} {self.orders}")

    @staticmethod
    def of(gen: Gen) -> _States:
        """Return the states in a generation; those of something else are equal to no other."""
        parts = gen.split(" ") if gen != NOTHING else [MISSING] * 3
        return _States(*parts) if len(parts) == 3 else _States("?", "?", "?")


class _Lease:
    """A lease: a lock on a file, and the token by which writes name it."""

    def __init__(
        self, records: HomeRecords, subject: Subject, token: Token, lock: FileLock, path: Path
    ) -> None:
        self._records = records
        self.subject = subject
        self._token = token
        self._lock = lock
        self._path = path

    @property
    def token(self) -> Token:
        return self._token

    @property
    def holds(self) -> bool:
        """Whether the lock is held, and on the file that other processes would lock."""
        return self._lock.is_on(self._path)

    def renew(self) -> None:
        if not self.holds:
            raise fenced(self.subject)

    def release(self) -> None:
        self._records.end(self._token)
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class HomeRecords:
    """Implements `certctl.store.records.Records` in one home directory."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._layout = parts.layout
        self._guard = threading.Lock()
        self._leases: dict[Token, tuple[_Lease, bool]] = {}
        self._numbers = itertools.count(1)
        self._specs: dict[str, CertificateSpec] = {}
        self._scans: dict[str, Mapping[str, object]] = {}

    def names(self, after: str = "", limit: int | None = None) -> Sequence[str]:
        return [each for each in self._parts.specs.names() if each > after][:limit]

    def due(self, now: datetime, after: str = "", limit: int | None = None) -> Iterator[str]:
        return itertools.islice(self._parts.idle.due(self.names(after), now), limit)

    def find(self, identifier: str) -> Sequence[str]:
        return self._parts.specs.names_mentioning(identifier)

    def read(self, name: str) -> Stored | None:
        """Open each file of the certificate once; those of its versions when they are asked for."""
        return self._read(name, secrets=True)

    def spec(self, name: str) -> CertificateSpec:
        return self._parts.specs.read(name)

    def check_spec(self, name: str) -> None:
        self._parts.specs.check_file(name)

    def names_without_spec(self) -> Sequence[str]:
        return self._parts.versions.names_without(self._parts.specs.names())

    def summaries(self, names: Sequence[str]) -> Mapping[str, Stored]:
        found = {name: self._read(name, secrets=False) for name in names}
        return {name: each for name, each in found.items() if each is not None}

    def _read(self, name: str, *, secrets: bool) -> Stored | None:
        spec, error, csr = None, None, None
        # their states are taken before they are read: what changes in between is found later
        renewal, orders = self._renewal(name), self._orders(name)
        try:
            spec = self._parts.specs.read(name)
            csr = self._parts.specs.csr(name) if secrets and spec.csr is not None else None
        except UnknownCertificate:
            pass
        except CertctlError as problem:
            error = problem
        saved = self._parts.state_files.load(name)
        pending = tuple(self._parts.pending_orders.read(name))
        if not secrets:
            pending = tuple(replace(each, privkey=None) for each in pending)
        versions = _Headers(name, self._parts)
        if spec is not None:
            self._specs[name] = spec
        # a file that cannot be read is no less there, and is replaced by the first write
        files = {renewal, orders} != {MISSING}
        if not (spec or error or files or versions.numbers):
            return None
        stored = Stored(
            name,
            spec=spec,
            spec_error=error,
            csr=csr,
            orders=pending,
            versions=versions,
            numbers=versions.numbers,
            last_version=max(saved.last_version if saved else 0, 0, *versions.numbers),
            gen=_States(self._spec(name), renewal, orders).gen,
        )
        if saved is None:
            return stored
        return replace(stored, renewal_state=saved.renewal_state, saved_at=saved.saved_at)

    def write(self, name: str, changes: Changes, *, expect: Gen, token: Token) -> Gen:
        self._require(Subject(name), token)
        before = after = _States.of(expect)
        spec, orders = changes.spec, changes.orders
        state = changes.renewal_state is not None or changes.next_action is not None
        if spec is not None and self._is_same(name, spec):
            spec = None
        if spec is not None and before.spec != self._spec(name):
            raise conflict(name, "the specification")
        if state and before.renewal != self._renewal(name):
            raise conflict(name, "the renewal state")
        if orders is not None and before.orders != self._orders(name):
            raise conflict(name, "the order in progress")
        if changes.csr is not None and changes.csr != self._parts.specs.csr(name):
            self._parts.specs.save_csr(name, changes.csr)
        if spec is not None:
            self._parts.specs.save(spec)
            self._specs[name] = spec
            after = replace(after, spec=self._spec(name))
        if state:
            self._save_state(name, changes)
            after = replace(after, renewal=self._renewal(name))
        if orders is not None:
            self._save_orders(name, orders)
            after = replace(after, orders=self._orders(name))
        return after.gen

    def _save_orders(self, name: str, orders: Sequence[PendingOrder]) -> None:
        """Save the orders, then drop the others: at any time, each one that was there or is to be
        there for a CA and key type can be resumed.
        """
        parts = self._parts
        for each in orders:
            parts.pending_orders.save(name, each)
        subjects = {each.subject for each in orders}
        if not orders:
            parts.pending_orders.drop(name)
            return
        for each in parts.pending_orders.read(name):
            if each.subject not in subjects:
                parts.pending_orders.drop(name, each)

    def _is_same(self, name: str, spec: CertificateSpec) -> bool:
        """Return whether a spec says what the one says that was last read or written."""
        known = self._specs.get(name)
        return known is not None and to_table(known) == to_table(spec)

    def _save_state(self, name: str, changes: Changes) -> None:
        parts, now = self._parts, self._parts.clock.now()
        state = changes.renewal_state
        if state is None:
            saved = parts.state_files.load(name)
            state = RenewalState() if saved is None else saved.renewal_state
        action = changes.next_action
        row = None if action is None else action.row
        seen = parts.idle.snapshot(name, parts.specs.seen(name), parts.intact_files(name))

        def with_row(document: bytes) -> bytes:
            if row is None:
                return document
            return parts.saved_rows.appended(document, name, row, seen, now)

        parts.state_files.save_renewal(
            name,
            state,
            last_version=parts.last_version(name),
            next_action_at=now if action is None else action.at,
            seen=seen,
            now=now,
            with_row=with_row,
        )

    def add_version(
        self, name: str, version: Version, material: Material, *, token: Token
    ) -> Version:
        """Write the version into the archive; a crash leaves all of it or nothing."""
        self._require(Subject(name), token)
        parts = self._parts
        headers = _Headers(name, parts)
        known = Stored(name, versions=headers, numbers=headers.numbers).version_of(
            [each.order_url for each in version.certificates]
        )
        if known is not None:
            return known
        spec = self._specs.get(name) or parts.specs.read(name)
        number = parts.last_version(name) + 1
        saved = replace(integrity.described(version, material), number=number)
        return parts.versions.add(spec, saved, material)

    def material(self, name: str, number: int, *, with_key: bool = True) -> Material:
        if with_key:
            forbid_core_dumps()
        return self._parts.versions.material(name, number, with_key=with_key)

    def remove_versions(self, name: str, numbers: Sequence[int], *, token: Token) -> None:
        self._require(Subject(name), token)
        for number in numbers:
            self._parts.versions.remove(name, number)

    def delete(self, name: str, *, expect: Gen, token: Token) -> None:
        """Delete also what an interrupted deletion left. The number and the compromised keys are
        saved before the versions are removed, and the live link is removed before its target.
        Raises `StoreNewer` before anything is removed.
        """
        self._require(Subject(name), token)
        if _States.of(expect).spec != self._spec(name):
            raise conflict(name, "the specification")
        last = self._parts.last_version(name)
        require_not_newer(self._layout.pending_order(name))
        self._parts.specs.remove(name)
        self._specs.pop(name, None)
        self._parts.state_files.forget_renewal(name, last_version=last)
        self._parts.pending_orders.drop(name, sync=Sync.ALL)
        self._parts.versions.remove_all(name)

    def lease(
        self,
        subject: Subject,
        *,
        shared: bool = False,
        ttl: float = LONGEST_LEASE,  # noqa: ARG002 - a lock ends with its process
        wait: float,
    ) -> _Lease:
        if subject.name is not None:
            if shared:
                raise ValueError("the lease of a certificate cannot be shared")
            path = self._layout.certificate_lock(subject.name)
            lock = self._parts.lock_certificate(subject.name, wait)
        else:
            directory_url = subject.directory_url or ""
            path = self._layout.account_lock(directory_url)
            lock = self._parts.accounts.lock(directory_url, exclusive=not shared, timeout=wait)
        with self._guard:
            token = Token(_EPOCH, next(self._numbers))
            lease = _Lease(self, subject, token, lock, path)
            self._leases[token] = lease, shared
        return lease

    def end(self, token: Token) -> None:
        """Forget a lease. Idempotent."""
        with self._guard:
            self._leases.pop(token, None)

    def _require(self, subject: Subject, token: Token) -> None:
        """Raise `Fenced` unless the token is that of a lease on the subject that is held."""
        with self._guard:
            lease, shared = self._leases.get(token, (None, False))
        if lease is None or lease.subject != subject or shared or not lease.holds:
            raise fenced(subject)

    def accounts(self, directory_url: str | None = None) -> Sequence[Account]:
        every = self._parts.accounts.all()
        return [each for each in every if directory_url in {None, each.directory_url}]

    def account_keys(self, account: Account) -> AccountKeys:
        accounts = self._parts.accounts
        return AccountKeys(accounts.key(account), accounts.next_key(account))

    def save_account(
        self, account: Account, keys: AccountKeys | None, *, expect: Account | None, token: Token
    ) -> Account:
        """Save the next key before anything else: the CA may know it already."""
        self._require(Subject(directory_url=account.directory_url), token)
        accounts = self._parts.accounts
        stored = accounts.find(account)
        if stored != expect:
            raise conflict(account.url, "the account")
        if stored is None:
            if keys is None:
                raise ValueError("a new account needs a key")
            account = accounts.save(account, keys.current)
            if keys.next is not None:
                accounts.save_next_key(account, keys.next)
            return account
        if keys is not None:
            self._save_keys(stored, keys)
        if account != stored:
            accounts.update(account)
        return account

    def _save_keys(self, account: Account, keys: AccountKeys) -> None:
        accounts, stored = self._parts.accounts, self.account_keys(account)
        if keys.next is not None and keys.next != stored.next:
            accounts.save_next_key(account, keys.next)
        if keys.current == stored.next and keys.current != stored.current:
            accounts.promote_next_key(account)
        elif keys.current != stored.current:
            accounts.save(account, keys.current)
        if keys.next is None:
            accounts.drop_next_key(account)

    def forget_account(self, account: Account, *, token: Token) -> None:
        self._require(Subject(directory_url=account.directory_url), token)
        self._parts.accounts.forget(account)

    def note(self, account: Account, rows: Sequence[LedgerEntry]) -> None:
        self._parts.accounts.add_to_ledger(account, rows, self._parts.clock.now())

    def asked(self, account: Account) -> Sequence[LedgerEntry]:
        return self._parts.accounts.ledger(account)

    def place(self, challenge: ChallengeSpec, placements: Sequence[Placement]) -> str:
        return self._parts.journal.record_placements(challenge, placements)

    def placements(self, name: str) -> Sequence[Leftover]:
        return self._parts.journal.leftovers(name)

    def postpone(self, leftover: Leftover) -> None:
        self._parts.journal.save_cleanup(leftover)

    def settle(self, entry: str) -> None:
        self._parts.journal.remove(entry)

    def names_with_placements(self) -> Sequence[str]:
        return self._parts.journal.with_leftovers()

    def changes(self, cursor: str = "", wait: float = 0.0) -> tuple[Sequence[str], str]:
        """Compare all files with the scan that `cursor` stands for, which this process keeps."""
        clock, stop = self._parts.clock, self._parts.stop or threading.Event()
        deadline = clock.monotonic() + wait
        before = self._scans.get(cursor)
        while True:
            now = self._scan()
            known = before or {}
            changed = [each for each in {*known, *now} if known.get(each) != now.get(each)]
            left = deadline - clock.monotonic()
            if changed or before is None or left <= 0:
                break
            if clock.wait(stop, min(_PAUSE, left)):
                raise Interrupted("stopped while waiting for changes")
        following = str(next(self._numbers))
        self._scans = {following: now}
        return self.names() if before is None else sorted(changed), following

    def _scan(self) -> Mapping[str, object]:
        names = {*self.names(), *self._parts.versions.names_without(())}
        return {
            name: (
                file_signature(self._layout.spec(name)),
                file_signature(self._layout.renewal(name)),
                file_signature(self._layout.pending_order(name)),
                tuple(self._parts.versions.numbers(name)),
            )
            for name in names
        }

    def _spec(self, name: str) -> str:
        return self._parts.specs.digest(name)

    def _renewal(self, name: str) -> str:
        return _text(file_signature(self._layout.renewal(name)))

    def _orders(self, name: str) -> str:
        return _text(file_signature(self._layout.pending_order(name)))


def _text(seen: Signature | None) -> str:
    return MISSING if seen is None else "-".join(str(each) for each in seen)
