"""Temporary files and directories that a crash left behind; removed with the lock of their
certificate held.

While the lock is held, no other process writes files of that certificate, so its temporary files
are no longer in use. Challenge placements outside the home directory are in the journal.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

from certctl.store.layout import Layout
from certctl.system.files import as_store_error, remove_tree, temporary_for

_OWNER = {
    "certificates": re.compile(r"(.+)\.(?:toml|csr)\Z"),
    "renewal": re.compile(r"(.+)\.json\Z"),
    "deployed": re.compile(r"(.+)\.json\Z"),
    "journal": re.compile(r"placements-(.+)-[0-9a-f]+\.json\Z"),
    "archive": re.compile(r"(.+)\Z"),
    "live": re.compile(r"(.+)\Z"),
    "pending": re.compile(r"(.+)\Z"),
}
"""Matches the certificate's name in the final name of a file in a shared directory."""


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

    def _list(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for directory, owner in _OWNER.items():
            for path in _temporary_paths(self._layout.home / directory):
                belongs = owner.match(temporary_for(path.name) or "")
                if belongs is not None:
                    found.setdefault(belongs[1], []).append(path)
        return found


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
    return [directory / each for each in entries if temporary_for(each) is not None]
