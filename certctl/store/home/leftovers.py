"""Temporary files and directories that a crash left behind; removed with the lock of their
certificate held.

While the lock is held, no other process writes files of that certificate, so its temporary files
are no longer in use. Challenge placements outside the home directory are in the journal.
"""

from __future__ import annotations

import os
import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from certctl.model.names import is_certificate_name
from certctl.model.run import TemporaryFile
from certctl.rules.remembered_times import in_future
from certctl.store.home.layout import Layout
from certctl.system.file_errors import as_store_error
from certctl.system.files import remove_tree, temporary_for

_OWNER = {
    "certificates": re.compile(r"(.+)\.(?:toml|csr)\Z"),
    "renewal": re.compile(r"(.+)\.json\Z"),
    "deployed": re.compile(r"(.+)\.json\Z"),
    "imported": re.compile(r"(.+)\.json\Z"),
    "imported/unfinished": re.compile(r"(.+)\.json\Z"),
    "journal": re.compile(r"placements-(.+)-[0-9a-f]+\.json\Z"),
    "archive": re.compile(r"(.+)\Z"),
    "live": re.compile(r"(.+)\Z"),
    "pending": re.compile(r"(.+)\Z"),
}
"""Matches the certificate's name in the final name of a file in a shared directory."""

_OF_OTHERS = {"dev-ca", "hooks", "locks"}
"""Directories in which the store writes no temporary files."""

_OLD = timedelta(minutes=10)
"""No process needs longer to write a file."""


class Leftovers:
    """Removes temporary files.

    The shared directories are listed once per process, not once per lock, since they are large with
    ten thousand certificates. Files that another process leaves there later are removed by a later
    process.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._mutex = threading.Lock()
        self._shared: dict[str, list[Path]] | None = None

    def clean_up(self, name: str) -> None:
        """Remove the temporary files of a certificate whose lock is held. Raises `StoreError`."""
        for directory in (self._layout.versions(name), self._layout.pending(name)):
            clean_up_directory(directory)
        with self._mutex:
            if self._shared is None:
                self._shared = self._list()
            found = self._shared.pop(name, [])
        for path in found:
            remove_tree(path)

    def names(self) -> list[str]:
        """Return the certificates, also deleted ones, whose temporary files are in the shared
        directories: of a process that works on them now, or of one that was killed.
        """
        return sorted(each for each in self._list() if is_certificate_name(each))

    def all(self, now: datetime) -> list[TemporaryFile]:
        """Return all temporary files and directories below the home directory, sorted.

        One that belongs to no certificate could be in use, and is left out until it is old. Raises
        `StoreError`.
        """
        found: list[TemporaryFile] = []
        for parent, directories, files in os.walk(self._layout.home):
            names = [each for each in (*directories, *files) if temporary_for(each) is not None]
            directories[:] = [
                each for each in directories if each not in names and each not in _OF_OTHERS
            ]
            for each in names:
                path = Path(parent, each)
                owner = self._owner(path)
                if owner is not None or _is_old(path, now):
                    found.append(TemporaryFile(str(path), owner))
        return sorted(found, key=lambda each: each.path)

    def _owner(self, path: Path) -> str | None:
        """Return the certificate that a temporary file belongs to."""
        directory, *below = path.relative_to(self._layout.home).parts
        if len(below) > 1 and directory in {"archive", "pending"}:
            return below[0]
        pattern = _OWNER.get(directory)
        belongs = pattern.match(temporary_for(path.name) or "") if pattern and below else None
        return belongs[1] if belongs is not None and is_certificate_name(belongs[1]) else None

    def _list(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for directory, owner in _OWNER.items():
            for path in _temporary_paths(self._layout.home / directory):
                belongs = owner.match(temporary_for(path.name) or "")
                if belongs is not None:
                    found.setdefault(belongs[1], []).append(path)
        return found


def _is_old(path: Path, now: datetime) -> bool:
    try:
        changed = datetime.fromtimestamp(path.lstat().st_ctime, UTC)
    except OSError:
        return False
    return in_future(changed, now) or now - changed >= _OLD


def clean_up_directory(directory: Path) -> None:
    """Remove the temporary files in a directory that no other process writes to."""
    for path in _temporary_paths(directory):
        remove_tree(path)


def _temporary_paths(directory: Path) -> list[Path]:
    with as_store_error("list", directory):
        try:
            entries = os.listdir(directory)  # noqa: PTH208 - only names are needed
        except FileNotFoundError:
            return []
    return [
        directory / each
        for each in entries
        if each.startswith(".new-") and temporary_for(each) is not None
    ]
