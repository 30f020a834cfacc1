"""The journal: what must be cleaned up if a run is interrupted, one JSON file per entry.

Challenge placements belong to a certificate and are read with its lock held. Post hooks belong to a
run and are read with the run lock held. Secrets of DNS providers are never written: they are looked
up again when an entry is read. Copies that are overwritten are kept with their contents, which may
be a private key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from certctl.model.delivery import InterruptedCopies, SavedFile
from certctl.model.errors import StoreCorrupt, StoreError
from certctl.model.names import certificate_name
from certctl.model.run import OutstandingPostHooks
from certctl.model.spec import ChallengeSpec
from certctl.model.validation import Leftover, Placement
from certctl.model.values import Value
from certctl.rules.options import Option
from certctl.store.codec import to_json
from certctl.store.home import version1
from certctl.store.home.documents import Upgrade, read_document, read_record, write_document
from certctl.store.home.layout import Layout
from certctl.system.file_errors import as_store_error
from certctl.system.files import Sync, remove_file, rename

SecretLookup = Callable[[str, str, str | None], Mapping[str, Value]]
"""Returns the secret options of a certificate's plug-ins, given its name, its challenge method and
the name of its DNS provider.
"""

_PLACEMENTS = re.compile(r"placements-(.+)-[0-9a-f]{16}\Z")
_COPIES = re.compile(r"copies-(.+)-[0-9a-f]{16}\Z")
_POST_HOOKS = re.compile(r"post-hooks-[0-9a-f]{16}\Z")

_Entry = TypeVar("_Entry")


class Journal:
    """The journal of one home directory: entries of the records, and of this machine."""

    def __init__(
        self,
        layout: Layout,
        table: Mapping[str, Option],
        secrets: SecretLookup,
        warn: Callable[[str], None],
    ) -> None:
        self._layout = layout
        self._table = table
        self._secrets = secrets
        self._warn = warn

    def record_placements(self, challenge: ChallengeSpec, placements: Sequence[Placement]) -> str:
        names = {each.certificate for each in placements}
        if len(names) != 1:
            raise ValueError("an entry must have the placements of exactly one certificate")
        entry = f"placements-{certificate_name(names.pop())}-{_unique()}"
        # an option that is not in the table could be a secret
        public = {
            key: value
            for key, value in challenge.plugin.items()
            if key in self._table and not self._table[key].secret
        }
        leftover = Leftover(entry, replace(challenge, plugin=public), tuple(placements))
        self._write(leftover)
        return entry

    def leftovers(self, certificate: str) -> Sequence[Leftover]:
        found = self._read(
            lambda entry: (found := _PLACEMENTS.match(entry)) and found[1] == certificate,
            Leftover,
            version1.placements,
        )
        complete: list[Leftover] = []
        for each in found:
            challenge = each.challenge
            try:
                secrets = self._secrets(certificate, challenge.method, challenge.dns_provider)
            except StoreError as error:
                self._ignore(error)
                continue
            plugin = {**challenge.plugin, **secrets}
            complete.append(replace(each, challenge=replace(challenge, plugin=plugin)))
        return complete

    def save_cleanup(self, leftover: Leftover) -> None:
        path = self._path(leftover.entry)
        document = read_document(path, version1.placements)
        if document is not None:
            write_document(path, {**document, "state": to_json(leftover.state)})

    def with_leftovers(self) -> Sequence[str]:
        found = (_PLACEMENTS.match(entry) for entry in self._entries())
        return sorted({each[1] for each in found if each})

    def record_post_hooks(self, commands: Sequence[str], timeout: float) -> str:
        entry = f"post-hooks-{_unique()}"
        self._write(OutstandingPostHooks(entry, tuple(commands), timeout))
        return entry

    def outstanding_post_hooks(self) -> Sequence[OutstandingPostHooks]:
        return self._read(_POST_HOOKS.match, OutstandingPostHooks, version1.unchanged)

    def record_copies(self, name: str, files: Sequence[SavedFile]) -> str:
        entry = f"copies-{certificate_name(name)}-{_unique()}"
        self._write(InterruptedCopies(entry, tuple(files)))
        return entry

    def interrupted_copies(self, name: str) -> Sequence[InterruptedCopies]:
        return self._read(
            lambda entry: (found := _COPIES.match(entry)) and found[1] == name,
            InterruptedCopies,
            version1.unchanged,
        )

    def with_interrupted_copies(self) -> Sequence[str]:
        found = (_COPIES.match(entry) for entry in self._entries())
        return sorted({each[1] for each in found if each})

    def remove(self, entry: str) -> None:
        known = (_PLACEMENTS, _POST_HOOKS, _COPIES)
        if not any(each.match(entry) for each in known) or "/" in entry:
            raise StoreError(f"{entry!r} is not a journal entry")
        # A placement that is removed again, or a post hook that runs again, does no harm. Copies
        # must not be restored once they have been replaced completely.
        sync = Sync.ALL if _COPIES.match(entry) else Sync.CONTENT
        remove_file(self._path(entry), sync=sync)

    def _path(self, entry: str) -> Path:
        return self._layout.journal / f"{entry}.json"

    def _write(self, entry: Leftover | OutstandingPostHooks | InterruptedCopies) -> None:
        self._layout.create_directory(self._layout.journal)
        write_document(self._path(entry.entry), to_json(entry, without={"entry"}))

    def _read(
        self, wanted: Callable[[str], object], kind: type[_Entry], upgrade: Upgrade
    ) -> list[_Entry]:
        """Return the entries for which `wanted` is true, in the order in which they were written.
        An entry that cannot be parsed is renamed, with a warning, so that it is not read again. One
        that cannot be read is left out, with a warning: it must not stop what does not need it.
        """
        found: list[tuple[int, str, _Entry]] = []
        for entry in self._entries():
            if not wanted(entry):
                continue
            path = self._path(entry)
            try:
                record = read_record(path, kind, upgrade, entry=entry)
                if record is not None:
                    with as_store_error("read the status of", path):
                        found.append((path.stat().st_mtime_ns, entry, record))
            except StoreCorrupt as error:
                self._set_aside(path, error)
            except StoreError as error:
                self._ignore(error)
        return [each for *_, each in sorted(found, key=lambda item: item[:2])]

    def _ignore(self, error: StoreError) -> None:
        self._warn(f"{error.message}. The entry is ignored in this run.")

    def _set_aside(self, path: Path, problem: StoreCorrupt) -> None:
        aside = path.with_name(f"{path.name}.corrupt")
        try:
            rename(path, aside)
        except StoreError:
            # an earlier one, of another kind, has that name
            aside = path.with_name(f"{path.name}-{_unique()}.corrupt")
            rename(path, aside)
        self._warn(f"{problem.message}. The entry is ignored and kept as {aside}.")

    def _entries(self) -> list[str]:
        with as_store_error("list", self._layout.journal):
            try:
                names = os.listdir(self._layout.journal)  # noqa: PTH208 - names are enough
            except FileNotFoundError:
                return []
        return [each[:-5] for each in sorted(names) if each.endswith(".json")]


def _unique() -> str:
    return os.urandom(8).hex()
