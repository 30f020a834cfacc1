"""What a crash leaves behind: temporary files and folders, removed under the lock of the
certificate that they belong to.

Whoever holds the lock knows that no writer of that certificate lives, so that its temporary names
are nobody's. Placements outside the home folder are the journal's business.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

from certctl.store.layout import Layout
from certctl.system.files import explained, meant_for, remove_tree

_OWNER = {
    "certificates": re.compile(r"(.+)\.(?:toml|csr)\Z"),
    "renewal": re.compile(r"(.+)\.json\Z"),
    "deployed": re.compile(r"(.+)\.json\Z"),
    "journal": re.compile(r"placements-(.+)-[0-9a-f]+\.json\Z"),
    "archive": re.compile(r"(.+)\Z"),
    "live": re.compile(r"(.+)\Z"),
    "pending": re.compile(r"(.+)\Z"),
}
"""Which certificate a file of a shared folder belongs to, by its final name."""


class Strays:
    """Removes leftovers.

    The shared folders are listed once in a process's life, not once a lock, since with ten thousand
    certificates they are large. What another process leaves there later, a later process removes.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._mutex = threading.Lock()
        self._shared: dict[str, list[Path]] | None = None

    def sweep(self, name: str) -> None:
        """Remove what is left of writes for a certificate whose lock is held. Raises
        `StoreError`.
        """
        for folder in (self._layout.versions(name), self._layout.pending(name)):
            sweep_folder(folder)
        with self._mutex:
            if self._shared is None:
                self._shared = self._list()
            found = self._shared.pop(name, [])
        for path in found:
            remove_tree(path)

    def _list(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for folder, owner in _OWNER.items():
            for path in _temporaries(self._layout.home / folder):
                belongs = owner.match(meant_for(path.name) or "")
                if belongs is not None:
                    found.setdefault(belongs[1], []).append(path)
        return found


def sweep_folder(folder: Path) -> None:
    """Remove what is left of writes in a folder that nobody else writes to now."""
    for path in _temporaries(folder):
        remove_tree(path)


def _temporaries(folder: Path) -> list[Path]:
    with explained("list", folder):
        try:
            entries = os.listdir(folder)  # noqa: PTH208 - names are all that is wanted
        except FileNotFoundError:
            return []
    return [folder / each for each in entries if meant_for(each) is not None]
