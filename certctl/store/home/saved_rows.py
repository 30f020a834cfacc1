"""The row of `list` that is saved with a renewal state, as the last line of `renewal/NAME.json`.

Ten thousand certificates that were never listed are thus listed without reading their specs and
versions. A row is only believed if everything that it was made from is as it was: the files, by
their signatures, the rest of the document, by its digest, the defaults and the version of certctl.
It is a part of the document's text that its readers cut off, so that it costs them nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from array import array
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from certctl.rules.integrity import CERTIFICATE_FILES, KEY_FILES
from certctl.rules.remembered_times import believed
from certctl.rules.settings import Settings
from certctl.store.codec import Json, timestamp
from certctl.store.home.idle import ROW, digest_of, signature
from certctl.store.home.layout import Layout
from certctl.store.records import ListRow
from certctl.version import VERSION

_LIMIT = 256 * 1024
_FIRST_READ = 8 * 1024
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
_END = b"\n}\n"

_FILES = ("issued.json", *CERTIFICATE_FILES, *KEY_FILES)

Facts = Sequence[os.stat_result | None]
"""What the system says about files, None for one that cannot be examined."""

_parse = json.JSONDecoder().decode


class SavedRows:
    """Makes, appends and reads the rows that are saved with renewal states."""

    def __init__(self, layout: Layout, settings: Settings) -> None:
        self._home = str(layout.home)
        # the rules can change with the version, the defaults with certctl.toml
        self._made_by = f"{VERSION} {settings.spec_digest()}".encode()

    def facts(self, name: str) -> Facts:
        """Return the facts of the files that a row is made from, other than the renewal state: the
        spec, the deployment, the live link, and the files of the live version.
        """
        home, live = self._home, f"{self._home}/live/{name}"
        return [
            facts_of(f"{home}/certificates/{name}.toml"),
            facts_of(f"{home}/deployed/{name}.json"),
            _link(live),
            *[facts_of(f"{live}/{each}") for each in _FILES],
        ]

    def appended(
        self, document: bytes, name: str, row: ListRow, seen: Json, now: datetime
    ) -> bytes:
        """Return a document with a row as its last line; without one if the files are not those
        that were `seen` when they were read (`certctl.store.home.idle.Idle.snapshot`).
        """
        facts = self.facts(name)
        if not _is_as_seen(facts, seen):
            return document
        line = {
            "of": digest_of(document, self._made_by).decode(),
            "at": timestamp(now),
            "seen": digest(facts),
            "until": timestamp(row.until),
            "row": row.values,
        }
        text = json.dumps(line, ensure_ascii=False).encode()
        return document.removesuffix(_END) + ROW + text + _END

    def read(self, name: str, seen: str, now: datetime) -> Json | None:
        """Return the row that is saved for a certificate, with its end as `until`; None if there is
        none, or if it is not that of the files with the digest `seen`.
        """
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            data = _read(f"{self._home}/renewal/{name}.json")
            head, _, tail = data.rpartition(ROW)
            line: dict[str, Any] = _parse(tail.removesuffix(_END).decode()) if head else {}
            if (
                line["seen"] == seen
                and line["of"] == digest_of(head + _END, self._made_by).decode()
                and believed(datetime.fromisoformat(line["at"]), now) is not None
                and now < datetime.fromisoformat(line["until"])
            ):
                return {**line["row"], "until": line["until"]}
        return None


def digest(facts: Iterable[os.stat_result | None]) -> str:
    """Return a digest of the ctime (which users cannot set), size and inode of files."""
    found: list[int] = []
    for each in facts:
        found += (0, 0, 0) if each is None else (each.st_ctime_ns, each.st_size, each.st_ino)
    try:
        data = array("q", found).tobytes()
    except OverflowError:  # some file systems have inodes of 64 bits
        data = repr(found).encode()
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _is_as_seen(facts: Facts, seen: Json) -> bool:
    spec, deployed, link, *files = facts
    here = [number for each in files for number in _signature(each)]
    return (
        spec is not None
        and link is not None
        and stat.S_ISLNK(link.st_mode)
        and signature(spec) == seen["spec"]
        and (None if deployed is None else signature(deployed)) == seen["deployed"]
        and here == seen["files"]
    )


def _signature(facts: os.stat_result | None) -> Sequence[int]:
    return (0, 0, 0) if facts is None else signature(facts)


def facts_of(path: str) -> os.stat_result | None:
    """Return what the system says about a file, None if it cannot be examined."""
    try:
        return os.stat(path)  # noqa: PTH116 - nine times per certificate, as in `idle`
    except OSError:
        return None


def _link(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None


def _read(path: str) -> bytes:
    """Return the bytes of a file that only root and this user can write; raises OSError, and
    ValueError for another one, which its other reader may refuse with a reason.
    """
    descriptor = os.open(path, _FLAGS)
    try:
        facts = os.fstat(descriptor)
        if facts.st_uid not in {0, os.geteuid()} or facts.st_mode & 0o022:
            raise ValueError
        data = os.read(descriptor, _FIRST_READ)
        if len(data) == _FIRST_READ:
            data += os.read(descriptor, _LIMIT)
    finally:
        os.close(descriptor)
    return data
