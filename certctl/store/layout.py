"""Where everything lies in the home directory, and with which permissions.

Every path is made here, from names that `certctl.names.certificate_name` lets through or that are
derived from a digest, so that no name, CA or configuration leads out of the home directory. What is
in the files belongs to the other modules of this package.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from certctl.errors import StoreError
from certctl.models import Account
from certctl.names import certificate_name
from certctl.system.files import PRIVATE_DIRECTORY, ensure_directory

PASSABLE_DIRECTORY = 0o711
"""Others may walk through, not look: home, `archive` and `live`."""

_PASSABLE = {"archive", "live"}
_ACCOUNT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")


def account_id(url: str) -> str:
    """Return the id of the account with that URL at its CA: twelve hexadecimal digits."""
    return hashlib.sha256(url.encode()).hexdigest()[:12]


def ca_directory_name(directory_url: str) -> str:
    """Return a CA's directory name, from the host and the path of its directory URL.

    Two URLs may share a directory: each account's file says which directory it belongs to.
    """
    parts = urlsplit(directory_url)
    text = parts.netloc.rpartition("@")[2].lower() + parts.path
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text)[:150].strip("._-") or "ca"


@dataclass(frozen=True)
class Layout:
    """The paths below one home directory, which is absolute."""

    home: Path

    @cached_property
    def certificates(self) -> Path:
        """The directory of the specs."""
        return self.home / "certificates"

    def spec(self, name: str) -> Path:
        """What is wanted of a certificate."""
        return self.certificates / f"{certificate_name(name)}.toml"

    def csr(self, name: str) -> Path:
        """The certificate signing request that came with `--csr`."""
        return self.certificates / f"{certificate_name(name)}.csr"

    @cached_property
    def archive(self) -> Path:
        """The directory of all versions of all certificates."""
        return self.home / "archive"

    def versions(self, name: str) -> Path:
        """The directory of a certificate's versions."""
        return self.archive / certificate_name(name)

    def version(self, name: str, number: int) -> Path:
        """The directory of one version."""
        return self.versions(name) / f"{number:d}"

    @cached_property
    def live_links(self) -> Path:
        """The directory of the links to the live versions."""
        return self.home / "live"

    def live(self, name: str) -> Path:
        """The link to the directory of the live version."""
        return self.live_links / certificate_name(name)

    @staticmethod
    def live_target(name: str, number: int) -> str:
        """What the link to a version says: relative, so that the home directory can be moved."""
        return f"../archive/{certificate_name(name)}/{number:d}"

    @cached_property
    def renewals(self) -> Path:
        """The directory of what is remembered between runs."""
        return self.home / "renewal"

    def renewal(self, name: str) -> Path:
        """What is remembered between runs about one certificate."""
        return self.renewals / f"{certificate_name(name)}.json"

    @cached_property
    def deployments(self) -> Path:
        """The directory of what this machine serves."""
        return self.home / "deployed"

    def deployed(self, name: str) -> Path:
        """What this machine serves of one certificate."""
        return self.deployments / f"{certificate_name(name)}.json"

    @cached_property
    def claims(self) -> Path:
        """The directory of who writes which file outside the home directory."""
        return self.home / "copies"

    def claim(self, path: str) -> Path:
        """Who writes a file outside the home directory."""
        return self.claims / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"

    @cached_property
    def pendings(self) -> Path:
        """The directory of orders under way."""
        return self.home / "pending"

    def pending(self, name: str) -> Path:
        """The directory of a certificate's order that is under way."""
        return self.pendings / certificate_name(name)

    @cached_property
    def journal(self) -> Path:
        """The directory of what must be undone after a crash."""
        return self.home / "journal"

    @cached_property
    def accounts(self) -> Path:
        """The directory of all accounts."""
        return self.home / "accounts"

    def accounts_at(self, directory_url: str) -> Path:
        """The directory of the accounts at one CA."""
        return self.accounts / ca_directory_name(directory_url)

    def account(self, account: Account) -> Path:
        """The directory of one account. Raises `StoreError` for an id that is no name of a
        directory.
        """
        if not is_account_id(account.id):
            raise StoreError(f"{account.id!r} cannot be the id of an account")
        return self.accounts_at(account.directory_url) / account.id

    def certificate_lock(self, name: str) -> Path:
        """The lock of one certificate."""
        return self.home / "locks" / "certificates" / f"{certificate_name(name)}.lock"

    def account_lock(self, directory_url: str) -> Path:
        """The lock of the accounts at one CA."""
        return self.home / "locks" / "accounts" / f"{ca_directory_name(directory_url)}.lock"

    def ledger_lock(self, directory_url: str) -> Path:
        """The lock of the ledgers at one CA, held for as long as it takes to write one."""
        return self.home / "locks" / "accounts" / f"{ca_directory_name(directory_url)}.ledger.lock"

    @cached_property
    def run_lock(self) -> Path:
        """The lock of what only one run may do at a time."""
        return self.home / "locks" / "run.lock"

    def port_lock(self, port: int, *, queue: bool) -> Path:
        """The lock of a port at which only one run may answer, or of who is next there."""
        return self.home / "locks" / "ports" / f"{port}{'.next' if queue else ''}.lock"

    @cached_property
    def runs(self) -> Path:
        """When `renew` ran."""
        return self.home / "run.json"

    @cached_property
    def rows(self) -> Path:
        """What `list` last made of each certificate."""
        return self.home / "list.json"

    @cached_property
    def audit(self) -> Path:
        """The audit trail."""
        return self.home / "log" / "audit.jsonl"

    def refused(self, name: str) -> Path:
        """The last download for a certificate that was refused."""
        return self.home / "log" / f"{certificate_name(name)}.refused"

    def hooks(self, event: str) -> Path:
        """The directory of the executables for an event."""
        return self.home / "hooks" / f"{event}.d"

    def make(self, directory: Path) -> Path:
        """Return `directory`, which lies below home, after making what is missing of the way there.

        Raises `StoreError`.
        """
        if not directory.is_dir():
            ensure_directory(self.home, PASSABLE_DIRECTORY)
            top = self.home / directory.relative_to(self.home).parts[0]
            ensure_directory(
                top, PASSABLE_DIRECTORY if top.name in _PASSABLE else PRIVATE_DIRECTORY
            )
            ensure_directory(directory)
        return directory


def is_account_id(text: str) -> bool:
    """Whether this can be the name of an account's directory."""
    return _ACCOUNT_ID.match(text) is not None
