"""What scheduled runs of `renew` have printed, so that cron does not send the same mail every hour.

It is kept in the user's state directory: the home directory of certctl may be the very thing that
cannot be used. There are digests only. It can be lost without harm: then it is printed again.
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from certctl.model.errors import CertctlError
from certctl.rules.remembered_times import in_future
from certctl.system import trust
from certctl.system.files import PRIVATE_DIRECTORY, Sync, ensure_directory, write_atomic
from certctl.system.reading import read_own

_LIMIT = 1 << 20


class LineKind(StrEnum):
    """What a line says."""

    ERROR = "error"
    WARNING = "warning"


class PrintedLines:
    """The lines that were printed about one home directory less than `within` before `now`."""

    def __init__(self, directory: Path, home: str, now: datetime, within: timedelta) -> None:
        self._path = directory / f"{_digest(home)[:16]}.json"
        self._now = now
        self._within = within
        self._lock = threading.Lock()

    def add(self, kind: LineKind, line: str) -> bool:
        """Add a line; return whether it is new, or cannot be remembered."""
        key = f"{kind} {_digest(line)}"
        with self._lock:
            known = self._read()
            if key in known:
                return False
            self._save({**known, key: self._now})
            return True

    def forget(self, kind: LineKind) -> None:
        """Forget all lines of a kind: each is new again."""
        with self._lock:
            known = self._read()
            kept = {key: at for key, at in known.items() if not key.startswith(f"{kind} ")}
            if len(kept) < len(known):
                self._save(kept)

    def _read(self) -> dict[str, datetime]:
        """Return when each line was printed that still counts; nothing if that is unknown."""
        with suppress(CertctlError, ValueError, TypeError, AttributeError):
            data = read_own(self._path, _LIMIT)
            found = json.loads(data) if data is not None else {}
            times = {key: datetime.fromisoformat(at) for key, at in found.items()}
            return {key: at for key, at in times.items() if self._counts(at)}
        return {}

    def _counts(self, at: datetime) -> bool:
        return self._now - at < self._within and not in_future(at, self._now)

    def _save(self, lines: dict[str, datetime]) -> None:
        text = json.dumps({key: at.isoformat() for key, at in lines.items()}, indent=2)
        with suppress(CertctlError, OSError):
            trust.refuse_path(self._path.parent)
            ensure_directory(self._path.parent, PRIVATE_DIRECTORY)
            write_atomic(self._path, f"{text}\n".encode(), sync=Sync.NOTHING)


def _digest(text: str) -> str:
    return sha256(os.fsencode(text)).hexdigest()
