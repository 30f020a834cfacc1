"""ACME accounts and their keys: `accounts/CA/ID/` with `key.pem`, `account.json`, and
`next-key.pem` during a key rollover (RFC 8555 §7.3.5).

This module only reads and writes the files. Requests to the CA are in `certctl.ca.accounts`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from certctl.model.ca import Account, LedgerEntry
from certctl.model.errors import StoreError
from certctl.model.ports import Clock
from certctl.store.codec import Json, to_json
from certctl.store.home import version1
from certctl.store.home.documents import encode, read_record, write_document
from certctl.store.home.layout import Layout, account_id, is_account_id
from certctl.store.home.ledger import Ledger
from certctl.store.home.leftovers import clean_up_directory
from certctl.store.home.trust import HomeTrust, create_trusted_directory
from certctl.system.core_dumps import forbid_core_dumps
from certctl.system.file_errors import as_store_error
from certctl.system.files import (
    PRIVATE_DIRECTORY,
    remove_file,
    remove_tree,
    rename,
    temporary_name,
    write_atomic,
    write_new,
)
from certctl.system.locks import FileLock, acquire
from certctl.system.reading import read_own, read_private
from certctl.system.trust import check_own

_LIMIT = 64 * 1024
_LEDGER_TIMEOUT = 5.0
_UNKNOWN_DATE = datetime.min.replace(tzinfo=UTC)


class Accounts:
    """The accounts of one home directory."""

    def __init__(
        self, layout: Layout, clock: Clock, stop: threading.Event | None, trust: HomeTrust
    ) -> None:
        self._layout = layout
        self._trust = trust
        self._clock = clock
        self._stop = stop

    def all(self) -> Sequence[Account]:
        """Return all accounts, oldest first. Raises `StoreCorrupt` if one cannot be parsed:
        ignoring it would register a second account.
        """
        found: list[Account] = []
        for ca in _subdirectories(self._layout.accounts):
            for directory in _subdirectories(ca):
                if not is_account_id(directory.name):
                    continue
                account = _read(directory)
                if account is not None:
                    found.append(account)
        return sorted(found, key=lambda each: (each.created or _UNKNOWN_DATE, each.id))

    def find(self, account: Account) -> Account | None:
        """Return an account as it is stored, None if it is not."""
        identified = replace(account, id=account.id or account_id(account.url))
        return _read(self._layout.account(identified))

    def key(self, account: Account) -> bytes:
        path = self._layout.account(account) / "key.pem"
        check_own(path)
        forbid_core_dumps()
        return read_private(path, _LIMIT)

    def save(self, account: Account, key: bytes) -> Account:
        account = replace(account, id=account_id(account.url))
        directory = self._layout.account(account)
        if directory.is_dir():
            write_atomic(directory / "key.pem", key)
            self.update(account)
            return account
        parent = self._layout.create_directory(directory.parent)
        temporary = parent / temporary_name(directory.name)
        try:
            with as_store_error("create the directory", temporary):
                temporary.mkdir(PRIVATE_DIRECTORY)
            write_new(temporary / "key.pem", key)
            write_new(temporary / "account.json", encode(_account(account)))
            rename(temporary, directory)
        except BaseException:
            with suppress(StoreError):
                remove_tree(temporary)
            raise
        return account

    def update(self, account: Account) -> None:
        write_document(self._layout.account(account) / "account.json", _account(account))

    def where(self, account: Account, *, next_key: bool = False) -> str:
        key = self._layout.account(account) / "key.pem"
        return str(self._next_key(account) if next_key else key)

    def forget(self, account: Account) -> None:
        directory = self._layout.account(account)
        temporary = directory.parent / temporary_name(directory.name)
        rename(directory, temporary)  # so that no half of an account is ever seen
        remove_tree(temporary)

    def next_key(self, account: Account) -> bytes | None:
        return read_own(self._next_key(account), _LIMIT)

    def save_next_key(self, account: Account, key: bytes) -> None:
        write_atomic(self._next_key(account), key)

    def promote_next_key(self, account: Account) -> None:
        rename(self._next_key(account), self._layout.account(account) / "key.pem")

    def drop_next_key(self, account: Account) -> None:
        remove_file(self._next_key(account))

    def ledger(self, account: Account) -> Sequence[LedgerEntry]:
        return self._ledger(account).read(self._clock.now())

    def add_to_ledger(
        self, account: Account, entries: Sequence[LedgerEntry], now: datetime
    ) -> None:
        path = self._layout.ledger_lock(account.directory_url)
        create_trusted_directory(self._layout, self._trust, path.parent)
        held = acquire(
            path,
            exclusive=True,
            timeout=_LEDGER_TIMEOUT,
            clock=self._clock,
            subject=f"the ledger of {account.url}",
            stop=self._stop,
        )
        with held:
            self._ledger(account).add(entries, now)

    def _ledger(self, account: Account) -> Ledger:
        return Ledger(self._layout.account(account) / "ledger.json")

    def lock(self, directory_url: str, *, exclusive: bool, timeout: float) -> FileLock:
        path = self._layout.account_lock(directory_url)
        create_trusted_directory(self._layout, self._trust, path.parent)
        held = acquire(
            path,
            exclusive=exclusive,
            timeout=timeout,
            clock=self._clock,
            subject=f"the account at {directory_url}",
            stop=self._stop,
        )
        if not exclusive:
            return held
        try:
            self._clean_up(self._layout.accounts_at(directory_url))
        except BaseException:
            held.release()
            raise
        return held

    def _next_key(self, account: Account) -> Path:
        return self._layout.account(account) / "next-key.pem"

    @staticmethod
    def _clean_up(ca: Path) -> None:
        clean_up_directory(ca)
        for directory in _subdirectories(ca):
            clean_up_directory(directory)


def _account(account: Account) -> Json:
    return to_json(account, without={"id"})


def _read(directory: Path) -> Account | None:
    path = directory / "account.json"
    return read_record(path, Account, version1.unchanged, id=directory.name)


def _subdirectories(path: Path) -> list[Path]:
    with as_store_error("list", path):
        try:
            with os.scandir(path) as entries:
                return sorted(path / each.name for each in entries if each.is_dir())
        except FileNotFoundError:
            return []
