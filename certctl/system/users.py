"""Users and groups of this machine, by name or by number.

A number need not have a name: in a container, or for files on a shared file system, it often has
none.
"""

from __future__ import annotations

import grp
import pwd

_HIGHEST = (1 << 32) - 2
"""The next number means "unchanged" to chown."""


def user_id(text: str) -> int | None:
    """Return the id of a user, given by name or number; None if there is no such user."""
    try:
        return pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError):
        return _number(text)


def group_id(text: str) -> int | None:
    """Return the id of a group, given by name or number; None if there is no such group."""
    try:
        return grp.getgrnam(text).gr_gid
    except (KeyError, ValueError):
        return _number(text)


def group_name(group: int) -> str:
    """Return the name of a group, or its number if it has none."""
    try:
        return grp.getgrgid(group).gr_name
    except (KeyError, OverflowError):
        return str(group)


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        return None
    return int(text) if int(text) <= _HIGHEST else None
