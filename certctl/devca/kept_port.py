"""A port that stays the same from one start to the next, if it is free.

Clients store URLs with this port, and users pass it in options.
"""

from __future__ import annotations

import random
from pathlib import Path

from certctl.model.text import whole_number
from certctl.system.files import write_atomic
from certctl.system.reading import read_own

_PORTS = range(14_000, 16_000)
"""The range for the first choice, below the kernel's ports for outgoing connections."""

_TRIES = 20


class KeptPort:
    """A port stored in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def candidates(self, source: random.Random) -> list[int]:
        """Return the ports to try: the stored one first, and finally 0 for any free port."""
        known = self._known()
        return [*([known] if known else []), *source.sample(_PORTS, _TRIES), 0]

    def keep(self, port: int) -> None:
        """Store the port, unless one is stored: if that was busy, it may be free next time."""
        if self._known() is None:
            write_atomic(self._path, f"{port}\n".encode())

    def _known(self) -> int | None:
        text = (read_own(self._path, 100) or b"").decode("ascii", "replace").strip()
        number = whole_number(text)
        return number if number and number < 65536 else None
