"""What the stores of one home directory are made of; both ports share it.

`certctl.store.home.home_records` and `certctl.store.home.home_machine` decide the order of writes;
the other modules of this package read and write the single files.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from certctl.model.certificate import Version
from certctl.model.errors import ConfigurationError, LockHeld, UnknownCertificate
from certctl.model.ports import Clock
from certctl.model.values import Value
from certctl.rules.settings import Settings
from certctl.rules.spec import plugin_prefixes
from certctl.store.home.accounts import Accounts
from certctl.store.home.copy_owners import CopyOwners
from certctl.store.home.idle import Idle, Signature
from certctl.store.home.imports import Imports
from certctl.store.home.journal import Journal
from certctl.store.home.layout import Layout
from certctl.store.home.leftovers import Leftovers
from certctl.store.home.memory import StateFiles
from certctl.store.home.pending import PendingOrders
from certctl.store.home.runs import Runs
from certctl.store.home.saved_rows import SavedRows
from certctl.store.home.specs import Specs
from certctl.store.home.summary_cache import SummaryCache
from certctl.store.home.trust import HomeTrust, create_trusted_directory
from certctl.store.home.versions import Versions
from certctl.system.locks import FileLock, acquire


def ignore_warning(_message: str) -> None:
    """Drop a warning."""


class Parts:
    """The modules of one home directory, which the first write creates.

    `warn` is called for files that cannot be parsed and are not essential. `stop` ends waiting for
    a lock.
    """

    def __init__(
        self,
        home: Path,
        settings: Settings,
        clock: Clock,
        *,
        stop: threading.Event | None = None,
        warn: Callable[[str], None] = ignore_warning,
    ) -> None:
        self.layout = Layout(home.absolute())
        self.settings = settings
        self.clock = clock
        self.stop = stop
        self.trust = HomeTrust(self.layout)
        self.specs = Specs(self.layout, settings, warn)
        self.versions = Versions(self.layout, warn)
        self.state_files = StateFiles(self.layout, warn)
        self.pending_orders = PendingOrders(self.layout, warn)
        self.idle = Idle(self.layout, settings)
        self.saved_rows = SavedRows(self.layout, settings)
        self.summary_cache = SummaryCache(self.layout, settings, self.saved_rows)
        self.leftovers = Leftovers(self.layout)
        self.runs = Runs(self.layout)
        self.copy_owners = CopyOwners(self.layout)
        self.imports = Imports(self.layout)
        self.accounts = Accounts(self.layout, clock, stop, self.trust)
        self.journal = Journal(self.layout, settings.table, self._plugin_secrets, warn)

    def lock(self, path: Path, subject: str, timeout: float) -> FileLock:
        """Return the exclusive lock on a file. Raises as `certctl.system.locks.acquire` does, and
        `ConfigurationError` if another user could have written the home directory.
        """
        create_trusted_directory(self.layout, self.trust, path.parent)
        return acquire(
            path,
            exclusive=True,
            timeout=timeout,
            clock=self.clock,
            subject=subject,
            stop=self.stop,
        )

    def lock_certificate(self, name: str, timeout: float) -> FileLock:
        """Return the lock on a certificate, after removing the temporary files that a crash left
        behind. Raises as `lock` does.
        """
        try:
            held = self.lock(self.layout.certificate_lock(name), name, timeout)
        except LockHeld as error:
            error.name = name
            raise
        try:
            self.leftovers.clean_up(name)
        except BaseException:
            held.release()
            raise
        return held

    def last_version(self, name: str) -> int:
        """Return the highest version number ever used, 0 if there is none."""
        return max(
            self.state_files.last_version(name),
            self.versions.live_number(name) or 0,
            *self.versions.numbers(name),
        )

    def damage(self, version: Version) -> str | None:
        """Return what is wrong with the files of a version; see `Versions.damage`. The renewal
        state must have been read before.
        """
        files = self.state_files.seen(version.name).get("files")
        return self.versions.damage(version, files if isinstance(files, list) else None)

    def intact_files(self, name: str) -> Signature | None:
        """Return the signature with which the files of the live version were found intact; None if
        there is no such version, or if they are not.
        """
        number = self.versions.live_number(name)
        if number is None:
            return None
        known = self.versions.intact_signature(name, number)
        if known is None:
            live = self.versions.read_or_warn(name, number)
            if live is not None:
                self.state_files.load(name)
                self.damage(live)
                known = self.versions.intact_signature(name, number)
        return known

    def _plugin_secrets(self, name: str, method: str, provider: str | None) -> Mapping[str, Value]:
        """Return the secret options of a DNS provider and a challenge method: from the
        certificate's spec, or else from the settings.
        """
        prefixes = plugin_prefixes(method, provider)
        if not prefixes:
            return {}
        table = self.settings.table
        keys = [key for key, each in table.items() if each.secret and key.startswith(prefixes)]
        try:
            plugin = self.specs.peek(name).challenge.plugin
        except (UnknownCertificate, ConfigurationError):
            plugin = {}  # a first issuance that was interrupted has no spec yet
        return {key: plugin.get(key, self.settings.value(key)) for key in keys}
