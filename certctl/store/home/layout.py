"""The paths in the home directory, and the permissions of its directories.

All paths are built here, from names that `certctl.model.names.certificate_name` accepts or from
digests, so that no name, CA or setting can lead out of the home directory. The contents of the
files belong to the other modules of this package.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Hashable
from functools import cached_property, wraps
from pathlib import Path
from typing import Concatenate, ParamSpec
from urllib.parse import urlsplit

from certctl.model.ca import Account
from certctl.model.errors import StoreError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.names import certificate_name
from certctl.system.files import PRIVATE_DIRECTORY, TRAVERSABLE_DIRECTORY, ensure_directory

_Of = ParamSpec("_Of")

_MOST_KEPT = 4096
"""More than the certificates that are worked on at a time have."""

_TRAVERSABLE = {"archive", "challenges", "live"}
_ACCOUNT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")


def account_id(url: str) -> str:
    """Return the id of the account with this URL: twelve hexadecimal digits."""
    return hashlib.sha256(url.encode()).hexdigest()[:12]


def ca_directory_name(directory_url: str) -> str:
    """Return the name of a CA's subdirectory, from the host and the path of its directory URL.

    Two URLs may get the same name: each account's file has its directory URL.
    """
    parts = urlsplit(directory_url)
    text = parts.netloc.rpartition("@")[2].lower() + parts.path
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text)[:150].strip("._-") or "ca"


def _kept(
    build: Callable[Concatenate[Layout, _Of], Path],
) -> Callable[Concatenate[Layout, _Of], Path]:
    """Keep the paths of the names that are in use. Building a path takes longer than examining the
    file, and a renewal needs nearly three hundred.
    """

    @wraps(build)
    def path(layout: Layout, /, *of: _Of.args, **named: _Of.kwargs) -> Path:
        paths, key = layout.paths_in_use, (build, of, *named.items())
        found = paths.get(key)
        if found is None:
            if len(paths) >= _MOST_KEPT:
                paths.clear()
            found = paths[key] = build(layout, *of, **named)
        return found

    return path


@dataclass(frozen=True)
class Layout:
    """The paths below one home directory, which must be absolute."""

    home: Path

    @cached_property
    def paths_in_use(self) -> dict[Hashable, Path]:
        """Paths that were built before."""
        return {}

    @cached_property
    def certificates(self) -> Path:
        """The directory of the certificate specs."""
        return self.home / "certificates"

    @_kept
    def spec(self, name: str) -> Path:
        """The spec of a certificate."""
        return self.certificates / f"{certificate_name(name)}.toml"

    def csr(self, name: str) -> Path:
        """The certificate signing request that was given with `--csr`."""
        return self.certificates / f"{certificate_name(name)}.csr"

    @cached_property
    def archive(self) -> Path:
        """The directory of the versions of all certificates."""
        return self.home / "archive"

    @_kept
    def versions(self, name: str) -> Path:
        """The directory of a certificate's versions."""
        return self.archive / certificate_name(name)

    @_kept
    def version(self, name: str, number: int) -> Path:
        """The directory of one version."""
        return self.versions(name) / f"{number:d}"

    @_kept
    def issued(self, name: str, number: int) -> Path:
        """The file that describes a version."""
        return self.version(name, number) / "issued.json"

    @cached_property
    def live_links(self) -> Path:
        """The directory of the links to the live versions."""
        return self.home / "live"

    @_kept
    def live(self, name: str) -> Path:
        """The link to the directory of the live version."""
        return self.live_links / certificate_name(name)

    @staticmethod
    def live_target(name: str, number: int) -> str:
        """The target of the link to a version: relative, so that the home can be moved."""
        return f"../archive/{certificate_name(name)}/{number:d}"

    @cached_property
    def renewals(self) -> Path:
        """The directory of the renewal state files."""
        return self.home / "renewal"

    @_kept
    def renewal(self, name: str) -> Path:
        """The renewal state of a certificate."""
        return self.renewals / f"{certificate_name(name)}.json"

    @cached_property
    def deployments(self) -> Path:
        """The directory of the deployment state files."""
        return self.home / "deployed"

    @_kept
    def deployed(self, name: str) -> Path:
        """The deployment state of a certificate."""
        return self.deployments / f"{certificate_name(name)}.json"

    @cached_property
    def copy_owners(self) -> Path:
        """The directory of the records of which certificate owns which file outside home."""
        return self.home / "copies"

    def copy_owner(self, path: str) -> Path:
        """The record of which certificate owns a file outside home."""
        return self.copy_owners / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"

    @cached_property
    def pending_orders(self) -> Path:
        """The directory of pending orders."""
        return self.home / "pending"

    @_kept
    def pending_order(self, name: str) -> Path:
        """The document with a certificate's pending orders."""
        return self.pending(name) / "order.json"

    @_kept
    def pending(self, name: str) -> Path:
        """The directory of a certificate's pending order."""
        return self.pending_orders / certificate_name(name)

    @cached_property
    def journal(self) -> Path:
        """The directory of the journal: what must be cleaned up after a crash."""
        return self.home / "journal"

    @cached_property
    def imported(self) -> Path:
        """The directory of the records of certificates taken over from other clients."""
        return self.home / "imported"

    @cached_property
    def accounts(self) -> Path:
        """The directory of all accounts."""
        return self.home / "accounts"

    @_kept
    def accounts_at(self, directory_url: str) -> Path:
        """The directory of the accounts at one CA."""
        return self.accounts / ca_directory_name(directory_url)

    def account(self, account: Account) -> Path:
        """The directory of one account. Raises `StoreError` if its id is not valid."""
        if not is_account_id(account.id):
            raise StoreError(f"{account.id!r} is not a valid account id")
        return self.accounts_at(account.directory_url) / account.id

    @_kept
    def certificate_lock(self, name: str) -> Path:
        """The lock of one certificate."""
        return self.home / "locks" / "certificates" / f"{certificate_name(name)}.lock"

    @_kept
    def machine_lock(self, name: str) -> Path:
        """The lock of the live link and the deployment of one certificate."""
        return self.home / "locks" / "machine" / f"{certificate_name(name)}.lock"

    @_kept
    def account_lock(self, directory_url: str) -> Path:
        """The lock of the accounts at one CA."""
        return self.home / "locks" / "accounts" / f"{ca_directory_name(directory_url)}.lock"

    @_kept
    def ledger_lock(self, directory_url: str) -> Path:
        """The lock of the ledgers at one CA, held only while one is written."""
        return self.home / "locks" / "accounts" / f"{ca_directory_name(directory_url)}.ledger.lock"

    @cached_property
    def challenges(self) -> Path:
        """The directory below which web servers find challenge responses."""
        return self.home / "challenges"

    @cached_property
    def web_servers(self) -> Path:
        """The directory of what `secure` changed, and of the files that web servers include."""
        return self.home / "webservers"

    def secured(self, name: str) -> Path:
        """What `secure` changed for a certificate."""
        return self.web_servers / f"{certificate_name(name)}.json"

    def web_server_backups(self, name: str) -> Path:
        """The copies of the files that `secure` changed for a certificate."""
        return self.web_servers / "backups" / certificate_name(name)

    def tls_settings(self, server: str) -> Path:
        """The file with ciphers and protocols that a web server includes."""
        return self.web_servers / f"{server}-tls.conf"

    def default_certificate(self, server: str) -> Path:
        """The certificate without names of a web server, with its key."""
        return self.web_servers / f"{server}-default.pem"

    @cached_property
    def web_server_lock(self) -> Path:
        """The lock of what only one process may do at a time: changing web servers."""
        return self.home / "locks" / "webservers.lock"

    @cached_property
    def run_lock(self) -> Path:
        """The lock for what only one run may do at a time: pre and post hooks."""
        return self.home / "locks" / "run.lock"

    def port_lock(self, port: int, *, queue: bool) -> Path:
        """The lock of a port that only one run may use at a time, or of the next in its queue."""
        return self.home / "locks" / "ports" / f"{port}{'.next' if queue else ''}.lock"

    @cached_property
    def runs(self) -> Path:
        """The history of unattended `renew` runs."""
        return self.home / "run.json"

    @cached_property
    def list_cache(self) -> Path:
        """The cached rows of `list`."""
        return self.home / "list.json"

    @cached_property
    def audit(self) -> Path:
        """The audit trail."""
        return self.home / "log" / "audit.jsonl"

    def refused(self, name: str) -> Path:
        """The last download for a certificate that was rejected."""
        return self.home / "log" / f"{certificate_name(name)}.refused"

    def hooks(self, event: str) -> Path:
        """The directory of the hook executables for an event."""
        return self.home / "hooks" / f"{event}.d"

    def create_directory(self, directory: Path) -> Path:
        """Create `directory`, which is home or below it, and its missing parents; return it.

        Raises `StoreError`.
        """
        if not directory.is_dir():
            ensure_directory(self.home, TRAVERSABLE_DIRECTORY)
            for name in directory.relative_to(self.home).parts[:1]:
                mode = TRAVERSABLE_DIRECTORY if name in _TRAVERSABLE else PRIVATE_DIRECTORY
                ensure_directory(self.home / name, mode)
                ensure_directory(directory)
        return directory


def is_account_id(text: str) -> bool:
    """Return whether this can be the name of an account's directory."""
    return _ACCOUNT_ID.match(text) is not None
