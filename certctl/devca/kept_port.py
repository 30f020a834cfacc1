"""A port that stays the same from one start to the next, as far as it is free.

The URLs that a client keeps, and the options that a person gives, hold it.
"""

from __future__ import annotations

import random
from pathlib import Path

from certctl.system.files import read_if_exists, write_atomic

_PORTS = range(14_000, 16_000)
"""Where to look for the first one: below those that the kernel gives to outgoing connections."""

_TRIES = 20


class KeptPort:
    """A port written down in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def candidates(self, source: random.Random) -> list[int]:
        """Return ports to try: the kept one first, 0 for any at the end."""
        known = self._known()
        return [*([known] if known else []), *source.sample(_PORTS, _TRIES), 0]

    def keep(self, port: int) -> None:
        """Write the port down, unless there is one: where it was busy, it may be free again."""
        if self._known() is None:
            write_atomic(self._path, f"{port}\n".encode())

    def _known(self) -> int | None:
        text = (read_if_exists(self._path, 100) or b"").decode("ascii", "replace").strip()
        return int(text) if text.isdigit() and 0 < int(text) < 65536 else None
