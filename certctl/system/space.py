"""How much room a file system has left, in bytes and in files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DiskSpace:
    """What this user may still write; `files` is None where the file system counts none."""

    free: int
    files: int | None


def disk_space_at(path: Path) -> DiskSpace | None:
    """Return the space where `path` is, or would be made; None where that cannot be told."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        facts = os.statvfs(place)
    except OSError:
        return None
    return DiskSpace(facts.f_bavail * facts.f_frsize, facts.f_favail if facts.f_files else None)
