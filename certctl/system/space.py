"""The free space on a file system, in bytes and in files."""

from __future__ import annotations

import os
from pathlib import Path

from certctl.model.lazy_dataclass import dataclass


@dataclass(frozen=True)
class DiskSpace:
    """Bytes and files that this user can still create; `files` is None if there is no limit."""

    free: int
    files: int | None


def disk_space_at(path: Path) -> DiskSpace | None:
    """Return the space on the file system on which `path` is or would be; None if not known."""
    existing = path.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        facts = os.statvfs(existing)
    except OSError:
        return None
    return DiskSpace(facts.f_bavail * facts.f_frsize, facts.f_favail if facts.f_files else None)
