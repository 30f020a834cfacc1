"""Makes a path that a user gave absolute, once, where it enters certctl; pure functions."""

from __future__ import annotations

import os
from pathlib import Path

from certctl.model.errors import ConfigurationError

UNREACHABLE = Path()
"""Stands for a working directory that was removed, unmounted, or is outside of the root directory
(after nsenter, or an exec into a container): only absolute paths can be used there.
"""

SYSTEM_HOME = Path("/etc/certctl")
"""The home directory of root, who manages the certificates of a system."""


def absolute_path(path: str | Path, directory: str | Path) -> Path:
    """Return a path relative to `directory` as an absolute one, with `~` expanded.

    Raises `ConfigurationError` if the user of `~` is unknown, if the path is relative but
    `directory` is `UNREACHABLE`, or if the path is not text in UTF-8.
    """
    found = home_expanded(path)
    if not found.is_absolute():
        if not Path(directory).is_absolute():
            raise ConfigurationError(
                f"the path {path} is relative, but the working directory does not exist any more,"
                " or cannot be reached",
                hint="Give an absolute path, or change to another directory first: cd /",
            )
        found = Path(directory, found)
    require_utf8(str(found), "the path")
    return found


def home_expanded(path: str | Path) -> Path:
    """Return a path with `~` expanded. Raises `ConfigurationError` if the user is unknown."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigurationError(
            f"cannot expand {path}: the user does not exist or has no home directory",
            hint="Give an absolute path.",
            code="configuration.value",
        ) from None


def is_utf8(text: str) -> bool:
    """Return whether a text from the operating system was UTF-8; Python represents other bytes by
    unpaired surrogates (PEP 383).
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def require_utf8(text: str, what: str) -> None:
    """Raise `ConfigurationError` if `text`, described by `what`, is not UTF-8."""
    if not is_utf8(text):
        raise ConfigurationError(
            f"{what} {shown_bytes(text)} is not valid UTF-8",
            hint="Files of certctl, and hooks, can name only what is text in UTF-8. Rename it, or"
            " correct the encoding of the terminal or script.",
            code="configuration.encoding",
        )


def shown_bytes(text: str) -> str:
    r"""Return a text from the operating system with bytes that are not UTF-8 as `\xff`."""
    return os.fsencode(text).decode("utf-8", errors="backslashreplace")
