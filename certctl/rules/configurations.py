"""Why the configuration of a web server is not changed."""

from __future__ import annotations


class Refused(Exception):
    """The configuration is not one that can be changed; the text says why. `hint` is what to do."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.hint = hint


class Unreadable(Exception):
    """A file of the configuration cannot be read or understood; the text says which, and why."""
