"""What a crash leaves behind: temporary files and directories, removed under the lock of the
certificate that they belong to.

Whoever holds the lock knows that no writer of that certificate lives, so that its temporary names
are nobody's. Placements outside the home directory are the journal's business.
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
"""Which certificate a file of a shared directory belongs to, by its final name."""


class Leftovers:
    """Removes leftovers.

    The shared directories are listed once in a process's life, not once a lock, since with ten
    thousand certificates they are large. What another process leaves there later, a later process
    removes.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._mutex = threading.Lock()
        self._shared: dict[str, list[Path]] | None = None

    def clean_up(self, name: str) -> None:
        """Remove what is left of writes for a certificate whose lock is held. Raises
        `StoreError`.
        """
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
            for path in _temporaries(self._layout.home / directory):
                belongs = owner.match(temporary_for(path.name) or "")
                if belongs is not None:
                    found.setdefault(belongs[1], []).append(path)
        return found


def clean_up_directory(directory: Path) -> None:
    """Remove what is left of writes in a directory that nobody else writes to now."""
    for path in _temporaries(directory):
        remove_tree(path)


def _temporaries(directory: Path) -> list[Path]:
    with as_store_error("list", directory):
        try:
            entries = os.listdir(directory)  # noqa: PTH208 - names are all that is wanted
        except FileNotFoundError:
            return []
    return [directory / each for each in entries if temporary_for(each) is not None]
