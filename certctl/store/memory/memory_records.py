"""Records in memory: for tests of what is above the ports, and as the overlay of a dry run.

With a `base`, what is not here is read from there, and nothing about certificates is written to it.
Three things go through to the base all the same, because they are real in a dry run too: accounts,
what was asked of a CA, and where challenge responses were placed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from certctl.model.ca import Account, LedgerEntry
from certctl.model.certificate import Material, RenewalState, Version
from certctl.model.errors import Interrupted, StoreError, UnknownCertificate
from certctl.model.ports import Clock
from certctl.model.spec import CertificateSpec, ChallengeSpec
from certctl.model.validation import Leftover, Placement
from certctl.rules import integrity
from certctl.rules.rate_limits import still_counted
from certctl.rules.remembered_state import believed_entries
from certctl.store.home.layout import account_id
from certctl.store.memory.memory_certificate import ORDERS, SPEC, STATE, MemoryCertificate
from certctl.store.memory.memory_leases import MemoryLeases
from certctl.store.records import (
    LONGEST_LEASE,
    AccountKeys,
    Changes,
    Gen,
    Lease,
    Records,
    Stored,
    Subject,
    Token,
    conflict,
)

_PAUSE = 0.05
"""Seconds between two looks at whether anything has changed."""

_MAX_NAMES = 60_000
_UNKNOWN_DATE = datetime.min.replace(tzinfo=UTC)


def _go_on(_document: str) -> None:
    """Do nothing before a document is written."""


class MemoryRecords:
    """Implements `certctl.store.records.Records` in memory.

    `base` is what lies below an overlay, which `lend` gives further accounts. `before` is called
    with the name of each document before it is written, so that a test can raise between any two.
    `epoch` is that of the tokens.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        base: Records | None = None,
        stop: threading.Event | None = None,
        before: Callable[[str], None] = _go_on,
        epoch: int = 0,
    ) -> None:
        self._clock = clock
        self._base = base
        self._stop = stop or threading.Event()
        self._before = before
        self._guard = threading.RLock()
        self._certificates: dict[str, MemoryCertificate] = {}
        self._leases = MemoryLeases(
            clock, base=base, stop=self._stop, epoch=epoch, guard=self._guard
        )
        self._entries = 0
        self._accounts: dict[str, tuple[Account, AccountKeys]] = {}
        self._ledgers: dict[str, list[LedgerEntry]] = {}
        self._placements: dict[str, Leftover] = {}
        self._changed: dict[str, int] = {}
        self._writes = 0

    def names(self, after: str = "", limit: int | None = None) -> Sequence[str]:
        below = self._base.names() if self._base is not None else ()
        with self._guard:
            own = {name for name, each in self._certificates.items() if each.spec is not None}
            found = own.union(name for name in below if name not in self._certificates)
        return [name for name in sorted(found) if name > after][:limit]

    def due(self, now: datetime, after: str = "", limit: int | None = None) -> Iterator[str]:
        names = self.names(after)
        below = set(self._base.due(now, after)) if self._base is not None else set()
        left = limit
        for name in names:
            if left == 0:
                return
            with self._guard:
                own = self._certificates.get(name)
                idle = name not in below if own is None else own.is_idle(now)
            if not idle:
                left = None if left is None else left - 1
                yield name

    def find(self, identifier: str) -> Sequence[str]:
        below = self._base.find(identifier) if self._base is not None else ()
        with self._guard:
            found = {name for name in below if name not in self._certificates}
            for name, each in self._certificates.items():
                values = [one.value for one in each.spec.identifiers] if each.spec else []
                if identifier in values:
                    found.add(name)
        return sorted(found)

    def read(self, name: str) -> Stored | None:
        with self._guard:
            own = self._certificates.get(name)
            if own is None:
                return self._base.read(name) if self._base is not None else None
            stored = Stored(
                name,
                spec=own.spec,
                csr=own.csr if own.spec is not None and own.spec.csr is not None else None,
                renewal_state=own.renewal_state,
                saved_at=own.saved_at,
                orders=own.orders,
                versions=dict(sorted(own.versions.items())),
                numbers=tuple(sorted(own.versions)),
                last_version=own.last_version,
                gen=own.gen,
            )
        empty = Stored(name, saved_at=stored.saved_at, gen=stored.gen)
        return None if stored == empty else stored

    def spec(self, name: str) -> CertificateSpec:
        with self._guard:
            own = self._certificates.get(name)
        if own is None and self._base is not None:
            return self._base.spec(name)
        return (self.read(name) or Stored(name)).require_spec()

    def check_spec(self, name: str) -> None:
        with self._guard:
            own = self._certificates.get(name)
        if own is None and self._base is not None:
            self._base.check_spec(name)
        else:
            self.spec(name)

    def names_without_spec(self) -> Sequence[str]:
        below = self._base.names_without_spec() if self._base is not None else ()
        with self._guard:
            found = {each for each in below if each not in self._certificates}
            for name, each in self._certificates.items():
                if each.versions and each.spec is None:
                    found.add(name)
        return sorted(found)

    def summaries(self, names: Sequence[str]) -> Mapping[str, Stored]:
        found = {name: self.read(name) for name in names}
        return {
            name: replace(
                each, csr=None, orders=tuple(replace(one, privkey=None) for one in each.orders)
            )
            for name, each in found.items()
            if each is not None
        }

    def write(self, name: str, changes: Changes, *, expect: Gen, token: Token) -> Gen:
        with self._guard:
            self._leases.require(Subject(name), token)
            own = self._own(name)
            wanted = dict(own.counts(expect))
            changed = self._changed_documents(own, changes)
            for document in changed:
                if document in wanted and wanted[document] != own.written[document]:
                    raise conflict(name, document)
            for document, change in changed.items():
                self._before(document)
                change()
                if document in own.written:
                    own.written[document] += 1
                    wanted[document] = own.written[document]
                self._note_change(name)
            return own.gen_of(wanted)

    def _changed_documents(
        self, own: MemoryCertificate, changes: Changes
    ) -> dict[str, Callable[[], None]]:
        """Return what to do for each document that changes, in the order of the writes."""
        found: dict[str, Callable[[], None]] = {}
        csr, spec, state = changes.csr, changes.spec, changes.renewal_state
        if csr is not None and csr != own.csr:
            found["the signing request"] = lambda: setattr(own, "csr", csr)
        if spec is not None and spec != own.spec:
            found[SPEC] = lambda: setattr(own, "spec", spec)
        if state is not None or changes.next_action is not None:
            saved = own.renewal_state if state is None else state
            decided = changes.next_action, own.written[SPEC] + (SPEC in found)

            def save_state() -> None:
                own.renewal_state, own.saved_at = saved, self._clock.now()
                own.next_action, own.decided_from = decided

            if (saved, *decided) != (own.renewal_state, own.next_action, own.decided_from):
                found[STATE] = save_state
        orders = changes.orders
        if orders is not None and orders != own.orders:
            found[ORDERS] = lambda: setattr(own, "orders", orders)
        return found

    def add_version(
        self, name: str, version: Version, material: Material, *, token: Token
    ) -> Version:
        with self._guard:
            self._leases.require(Subject(name), token)
            own = self._own(name)
            known = Stored(name, versions=own.versions).version_of(
                [each.order_url for each in version.certificates]
            )
            if known is not None:
                return known
            number = max(own.last_version, *own.versions, 0) + 1
            saved = replace(integrity.described(version, material), number=number)
            files = integrity.contents(material, integrity.second_directory(saved))
            integrity.require(saved, integrity.check(saved, files))
            self._before("the version")
            own.versions[saved.number] = saved
            own.material[saved.number] = material
            own.last_version = saved.number
            self._note_change(name)
            return saved

    def material(self, name: str, number: int, *, with_key: bool = True) -> Material:
        with self._guard:
            own = self._certificates.get(name)
            if own is not None and number in own.material:
                version, found = own.versions[number], own.material[number]
                files = integrity.contents(found, integrity.second_directory(version))
                checked = integrity.check(version, files)
                return integrity.require(version, checked, with_key=with_key)
        if self._base is not None and (own is None or number in own.versions):
            return self._base.material(name, number, with_key=with_key)
        raise UnknownCertificate(
            f"{name} has no version {number}", name=name, code="usage.unknown_version"
        )

    def remove_versions(self, name: str, numbers: Sequence[int], *, token: Token) -> None:
        with self._guard:
            self._leases.require(Subject(name), token)
            own = self._own(name)
            for number in numbers:
                self._before("the version")
                own.versions.pop(number, None)
                own.material.pop(number, None)
                self._note_change(name)

    def delete(self, name: str, *, expect: Gen, token: Token) -> None:
        with self._guard:
            self._leases.require(Subject(name), token)
            own = self._own(name)
            if own.counts(expect)[SPEC] != own.written[SPEC]:
                raise conflict(name, SPEC)
            kept = RenewalState(compromised_keys=own.renewal_state.compromised_keys)
            self._before(SPEC)
            own.spec = own.csr = None
            own.written[SPEC] += 1
            self._note_change(name)
            self._before(STATE)
            own.renewal_state, own.next_action = kept, None
            own.written[STATE] += 1
            self._before(ORDERS)
            own.orders = ()
            own.written[ORDERS] += 1
            self._before("the versions")
            own.versions.clear()
            own.material.clear()

    def lease(
        self, subject: Subject, *, shared: bool = False, ttl: float = LONGEST_LEASE, wait: float
    ) -> Lease:
        return self._leases.lease(subject, shared=shared, ttl=ttl, wait=wait)

    def lend(self, account: Account, keys: AccountKeys) -> Account:
        """Add an account that is nowhere saved, and return it with its ID."""
        lent = replace(account, id=account_id(account.url))
        with self._guard:
            self._accounts[lent.id] = lent, keys
        return lent

    def accounts(self, directory_url: str | None = None) -> Sequence[Account]:
        with self._guard:
            found = [
                account
                for account, _ in self._accounts.values()
                if directory_url in {None, account.directory_url}
            ]
        if self._base is not None:
            own = {each.id for each in found}
            found += [each for each in self._base.accounts(directory_url) if each.id not in own]
        return sorted(found, key=lambda each: (each.created or _UNKNOWN_DATE, each.id))

    def account_keys(self, account: Account) -> AccountKeys:
        if self._base is not None and account.id not in self._accounts:
            return self._base.account_keys(account)
        with self._guard:
            if account.id not in self._accounts:
                raise StoreError(f"there is no account {account.id}")
            return self._accounts[account.id][1]

    def save_account(
        self, account: Account, keys: AccountKeys | None, *, expect: Account | None, token: Token
    ) -> Account:
        if self._base is not None:
            with self._guard:
                self._leases.require(Subject(directory_url=account.directory_url), token)
            return self._base.save_account(account, keys, expect=expect, token=token)
        with self._guard:
            self._leases.require(Subject(directory_url=account.directory_url), token)
            saved = replace(account, id=account.id or account_id(account.url))
            stored = self._accounts.get(saved.id)
            if (stored[0] if stored is not None else None) != expect:
                raise conflict(saved.url, "the account")
            if keys is None and stored is None:
                raise StoreError(f"there is no account {saved.id}")
            self._before("the account")
            self._accounts[saved.id] = saved, keys or self._accounts[saved.id][1]
            return saved

    def forget_account(self, account: Account, *, token: Token) -> None:
        with self._guard:
            self._leases.require(Subject(directory_url=account.directory_url), token)
            if self._base is None:
                self._accounts.pop(account.id, None)
                self._ledgers.pop(account.id, None)
                return
        self._base.forget_account(account, token=token)

    def note(self, account: Account, rows: Sequence[LedgerEntry]) -> None:
        if self._base is not None and account.id not in self._accounts:
            self._base.note(account, rows)
            return
        with self._guard:
            if account.id in self._accounts:
                now = self._clock.now()
                every = [*self._ledgers.get(account.id, []), *rows]
                self._ledgers[account.id] = still_counted(every, now, _MAX_NAMES)

    def asked(self, account: Account) -> Sequence[LedgerEntry]:
        if self._base is not None and account.id not in self._accounts:
            return self._base.asked(account)
        with self._guard:
            return believed_entries(self._ledgers.get(account.id, []), self._clock.now())

    def place(self, challenge: ChallengeSpec, placements: Sequence[Placement]) -> str:
        if self._base is not None:
            return self._base.place(challenge, placements)
        if len({each.certificate for each in placements}) != 1:
            raise ValueError("an entry must have the placements of exactly one certificate")
        with self._guard:
            self._entries += 1
            entry = f"placements-{placements[0].certificate}-{self._entries:016x}"
            self._placements[entry] = Leftover(entry, challenge, tuple(placements))
            return entry

    def placements(self, name: str) -> Sequence[Leftover]:
        if self._base is not None:
            return self._base.placements(name)
        with self._guard:
            every = self._placements.values()
            return [each for each in every if each.placements[0].certificate == name]

    def postpone(self, leftover: Leftover) -> None:
        if self._base is not None:
            self._base.postpone(leftover)
            return
        with self._guard:
            if leftover.entry in self._placements:
                self._placements[leftover.entry] = leftover

    def settle(self, entry: str) -> None:
        if self._base is not None:
            self._base.settle(entry)
            return
        with self._guard:
            self._placements.pop(entry, None)

    def names_with_placements(self) -> Sequence[str]:
        if self._base is not None:
            return self._base.names_with_placements()
        with self._guard:
            return sorted({each.placements[0].certificate for each in self._placements.values()})

    def changes(self, cursor: str = "", wait: float = 0.0) -> tuple[Sequence[str], str]:
        deadline = self._clock.monotonic() + wait
        while True:
            with self._guard:
                known = int(cursor) if cursor.isdigit() else -1
                found = sorted(name for name, each in self._changed.items() if each > known)
                if found or known < 0 or self._clock.monotonic() >= deadline:
                    every = found if known >= 0 else list(self.names())
                    return every, str(self._writes)
            if self._clock.wait(self._stop, _PAUSE):
                raise Interrupted("stopped while waiting for changes")

    def _own(self, name: str) -> MemoryCertificate:
        """Return what is here about a certificate; what the base has is copied first."""
        if name not in self._certificates:
            below = self._base.read(name) if self._base is not None else None
            stored = below or Stored(name)
            self._certificates[name] = MemoryCertificate(
                origin=stored.gen,
                spec=stored.spec,
                csr=stored.csr,
                renewal_state=stored.renewal_state,
                saved_at=stored.saved_at,
                orders=stored.orders,
                versions=dict(stored.versions),
                last_version=stored.last_version,
            )
        return self._certificates[name]

    def _note_change(self, name: str) -> None:
        self._writes += 1
        self._changed[name] = self._writes
