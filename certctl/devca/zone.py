"""The built-in zone: an in-memory table of TXT records, used for DNS-01 if no resolver is set."""

from __future__ import annotations

import threading


class MockZone:
    """A thread-safe table of TXT values by name. Names are case-insensitive."""

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}
        self._guard = threading.Lock()

    def add(self, name: str, value: str) -> None:
        """Add a TXT value; adding it again has no effect."""
        with self._guard:
            values = self._values.setdefault(_normal(name), [])
            if value not in values:
                values.append(value)

    def remove(self, name: str, value: str | None = None) -> None:
        """Remove one TXT value, or all values of a name; missing ones are ignored."""
        with self._guard:
            kept = [each for each in self._values.pop(_normal(name), []) if each != value]
            if value is not None and kept:
                self._values[_normal(name)] = kept

    def values(self, name: str) -> list[str]:
        """Return the TXT values of a name."""
        with self._guard:
            return list(self._values.get(_normal(name), ()))

    def all_values(self) -> dict[str, list[str]]:
        """Return all names with their values."""
        with self._guard:
            return {name: list(values) for name, values in self._values.items()}


def _normal(name: str) -> str:
    return name.removesuffix(".").lower()
