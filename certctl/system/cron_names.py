"""Which files in `/etc/cron.d`, `/etc/cron.daily` and the like cron runs, by their names.

Debian's cron and run-parts skip every name with a character other than letters, digits, `_` and
`-`. cronie, which most others have, runs `backup.sh` too, and skips what editors and packages
leave. Both skip hidden files.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_LEFT_BEHIND = (
    *("~", ",v", ".rpmsave", ".rpmorig", ".rpmnew", ".swp", ".cfsaved"),
    *(".dpkg-old", ".dpkg-dist", ".dpkg-new", ".dpkg-tmp"),
)


def hidden(name: str) -> str:
    """Return the name under which every cron skips the file `name`."""
    return f".{name}.imported"


def runs_file(exists: Callable[[str], bool]) -> Callable[[str], bool]:
    """Return the rule by which the cron of a machine runs a file; `exists` tells whether a path of
    the machine exists.
    """
    if exists("/etc/debian_version") and not exists("/usr/sbin/crond"):
        return lambda name: _PLAIN.fullmatch(name) is not None
    return lambda name: not name.startswith((".", "#")) and not name.endswith(_LEFT_BEHIND)
