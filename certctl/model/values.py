"""The value of an option."""

from __future__ import annotations

Value = str | int | float | bool | tuple[str, ...] | None
"""The value of an option; a path is a `str`."""
