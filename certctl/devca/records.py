"""The development CA's records: accounts, orders, authorizations, certificates.

Stored in SQLite, in a file or in memory, with one transaction per request. Records are found by id
or by one other key, so nothing is loaded at startup. JSON files would need a sync for each changed
record, and have no transactions across files. Times are seconds since 1970.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from certctl.model.errors import StoreError
from certctl.system.file_errors import as_store_error


@dataclass
class Record:
    """A record, found by its id and by one other key."""

    kind: ClassVar[str]
    id: str

    @property
    def owner(self) -> str:
        """The id of the account that owns the record."""
        return ""

    @property
    def key(self) -> str:
        """The other key that the record is found by; not necessarily unique."""
        return ""


@dataclass
class Account(Record):
    """RFC 8555 §7.1.2."""

    kind = "account"
    jwk: dict[str, str]
    thumbprint: str
    contact: list[str]
    created: float
    terms: str | None = None
    status: str = "valid"
    binding: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        return self.thumbprint


@dataclass
class Order(Record):
    """RFC 8555 §7.1.3; identical requests of one account have the same `fingerprint`."""

    kind = "order"
    account: str
    identifiers: list[dict[str, str]]
    authorizations: list[str]
    expires: float
    fingerprint: str
    status: str = "pending"
    profile: str | None = None
    replaces: str | None = None
    error: dict[str, Any] | None = None
    csr: str | None = None
    processing_until: float | None = None
    certificate: str | None = None

    @property
    def owner(self) -> str:
        return self.account

    @property
    def key(self) -> str:
        return self.fingerprint


@dataclass
class Authorization(Record):
    """RFC 8555 §7.1.4; challenges are plain objects: type, token, status, validated, error.

    `account_url` is the account's URL as its client uses it.
    """

    kind = "authorization"
    account: str
    identifier: dict[str, str]
    expires: float
    challenges: list[dict[str, Any]]
    wildcard: bool = False
    status: str = "pending"
    account_url: str = ""

    @property
    def owner(self) -> str:
        return self.account

    @property
    def key(self) -> str:
        return authorization_key(self.account, self.identifier, self.wildcard)


def authorization_key(account: str, identifier: dict[str, str], wildcard: bool) -> str:
    """Return the key for an account's authorizations for one identifier."""
    return f"{account}|{identifier['type']}|{identifier['value']}|{wildcard}"


@dataclass
class Certificate(Record):
    """An issued certificate; its id is the serial in hexadecimal, `ari` the CertID of RFC 9773."""

    kind = "certificate"
    account: str
    order: str
    ari: str
    pem: str
    issuer: str
    identifiers: list[dict[str, str]]
    not_before: float
    not_after: float
    revoked: float | None = None
    reason: int = 0
    replaced_by: str | None = None
    window: list[float] | None = None
    explanation: str | None = None

    @property
    def owner(self) -> str:
        return self.account

    @property
    def key(self) -> str:
        return self.ari


_Kind = TypeVar("_Kind", bound=Record)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    number INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (kind, id)
);
CREATE INDEX IF NOT EXISTS by_key ON records (kind, key);
CREATE INDEX IF NOT EXISTS by_owner ON records (kind, owner);
"""
_PUT = """
INSERT INTO records (kind, id, owner, key, body) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (kind, id) DO UPDATE SET owner = excluded.owner, key = excluded.key,
    body = excluded.body
"""


@dataclass
class Records:
    """All records; `path` None keeps them in memory. Methods return copies; `put` stores changes.

    Use `transaction` around changes; only one thread at a time can hold it. Raises `StoreError` if
    the file cannot be opened.
    """

    path: Path | None = None
    _guard: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __post_init__(self) -> None:
        if self.path is not None:
            with as_store_error(
                "open", self.path
            ):  # private from the start; SQLite's other files too
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        try:
            self._database = sqlite3.connect(
                self.path or ":memory:", check_same_thread=False, isolation_level=None
            )
            if self.path is not None:
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise StoreError(
                f"cannot open {self.path}: {error}",
                hint=f"Remove {self.path} to start again with no records.",
            ) from error

    def close(self) -> None:
        """Close the file; safe to call twice."""
        with self._guard:
            self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Lock the records; commit all changes at the end, or roll them back on an exception."""
        with self._guard:
            if self._database.in_transaction:
                yield
                return
            self._database.execute("BEGIN")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def put(self, record: Record) -> None:
        """Store a new or changed record."""
        body = json.dumps(vars(record), separators=(",", ":"))
        self._database.execute(_PUT, (record.kind, record.id, record.owner, record.key, body))

    def get(self, kind: type[_Kind], identifier: str) -> _Kind | None:
        """Return the record with that id, None if there is none."""
        rows = self._select(kind, "id = ?", identifier)
        return rows[0] if rows else None

    def newest(self, kind: type[_Kind], key: str) -> _Kind | None:
        """Return the newest record with that key, None if there is none."""
        rows = self._select(kind, "key = ? ORDER BY number DESC LIMIT 1", key)
        return rows[0] if rows else None

    def of_owner(self, kind: type[_Kind], owner: str) -> list[_Kind]:
        """Return an account's records, oldest first."""
        return self._select(kind, "owner = ? ORDER BY number", owner)

    def all(self, kind: type[_Kind]) -> list[_Kind]:
        """Return the records of a kind, oldest first."""
        return self._select(kind, "1 ORDER BY number")

    def _select(self, kind: type[_Kind], where: str, *values: str) -> list[_Kind]:
        query = f"SELECT body FROM records WHERE kind = ? AND {where}"  # noqa: S608 - constants of this module
        with self._guard:
            rows = self._database.execute(query, (kind.kind, *values)).fetchall()
        return [kind(**json.loads(body)) for (body,) in rows]
