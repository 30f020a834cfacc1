"""Finds the certificates that have nothing to do, by reading one small file for each.

Ten thousand certificates are checked in a fraction of a second. That is why this module makes
system calls on preformatted strings instead of using `pathlib`, and does not use the readers of
this package. Anything unexpected makes a certificate possibly due, and then its full status is
read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from certctl.model.names import certificate_name
from certctl.model.spec import FAMILIES
from certctl.rules.integrity import CERTIFICATE_FILES, KEY_FILES
from certctl.rules.remembered_times import believed
from certctl.rules.settings import Settings
from certctl.store.codec import Json
from certctl.store.home.documents import FORMAT
from certctl.store.home.layout import Layout
from certctl.version import VERSION

_LIMIT = 256 * 1024
_FIRST_READ = 8 * 1024
"""Bytes to read first: the interpreter allocates as much as is requested for each read."""

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
"""A pipe in place of the file must not block."""

Signature = list[int]
"""Identifies one state of a file: mtime in nanoseconds, size, inode; or that of several files."""

Seen = dict[str, Any]
"""What `snapshot` returned when a renewal state was saved."""

_Here = str
"""The live link and the signatures of the deployment and of the version's files, as a document has
them: thousands are kept at once, and comparing texts is faster than parsing them.
"""

_IN_VERSION = tuple(f"/{each}" for each in ("issued.json", *CERTIFICATE_FILES, *KEY_FILES))

_OF_TWO = (
    *_IN_VERSION,
    *(f"/{family}/{each}" for family in FAMILIES for each in (*CERTIFICATE_FILES, *KEY_FILES)),
)
"""The files of a version with two certificates. The second's are in one of these directories, and
those that are not there count as such.
"""

_MOST_WITH_ONE = 30
"""More numbers than this has only the state of a version with two certificates."""

ROW = b',\n  "row": '
"""What comes before the row in a document: no text in JSON contains a line break."""

_END = b"\n}\n"
_NO_ATTEMPTS = b'\n  "renewal_state": {"attempts": [], '

_parse = json.JSONDecoder().decode
_one_line = json.JSONEncoder(ensure_ascii=False).encode


def signature(facts: os.stat_result) -> Signature:
    """Return a file's signature."""
    return [facts.st_mtime_ns, facts.st_size, facts.st_ino]


def file_signature(path: str | os.PathLike[str]) -> Signature | None:
    """Return the signature of the file at `path`, None if it cannot be examined."""
    try:
        return signature(os.stat(path))  # noqa: PTH116 - see the module
    except OSError:
        return None


def files_signature(directory: str | os.PathLike[str], *, two: bool = False) -> Signature:
    """Return the signature of the files in a version's directory, one file after the other. A
    missing file counts as three zeros. `two`: there are two certificates.
    """
    found: Signature = []
    prefix = os.fspath(directory)
    for name in _OF_TWO if two else _IN_VERSION:
        try:
            facts = os.stat(prefix + name)  # noqa: PTH116 - see the module
        except OSError:
            found += (0, 0, 0)
        else:
            found += (facts.st_mtime_ns, facts.st_size, facts.st_ino)
    return found


class Idle:
    """Compares the current files with the ones that a renewal state was saved with."""

    def __init__(self, layout: Layout, settings: Settings) -> None:
        self._renewals = f"{layout.renewals}/"
        self._specs = f"{layout.certificates}/"
        self._deployments = f"{layout.deployments}/"
        self._links = f"{layout.live_links}/"
        self._home = f"{layout.home}"
        self._pending_orders = str(layout.pending_orders)
        # the rules can change with the version, the defaults with certctl.toml
        self._expected: dict[str, _Here] = {}
        self._defaults = f"{VERSION} {settings.spec_digest()}"
        self._made_by = self._defaults.encode()

    def snapshot(self, name: str, spec: Signature | None, files: Signature | None) -> Json:
        """Return what is saved with a renewal state. `spec` is the signature of the spec's file
        when it was read for the decision, `files` that of the live version's files when they were
        found intact: later changes have not been taken into account.
        """
        certificate_name(name)
        return {
            "spec": spec,
            "defaults": self._defaults,
            "live": self._live(name),
            "deployed": self._deployed(name),
            "files": files,
        }

    def possibly_due(self, names: Iterable[str], now: datetime) -> Iterator[str]:
        """Yield the names whose next action is due, that have a pending order, or for which
        anything has changed since their renewal state was saved.
        """
        pending = self._pending()
        for name in names:
            state = self._idle_state(name, pending, now)
            if state is None or not self._is_as(state, name):
                yield name

    def due(self, names: Iterable[str], now: datetime) -> Iterator[str]:
        """Yield the names whose next action is due, that have a pending order, or of which the spec
        or the defaults have changed.
        """
        pending = self._pending()
        for name in names:
            state = self._idle_state(name, pending, now)
            if state is None:
                yield name
            else:
                self._expected[name] = state

    def due_here(self, names: Iterable[str], now: datetime) -> Iterator[str]:
        """Yield the names for which the live version, its files or the deployment have changed. The
        files that `due` has just read are not read again.
        """
        for name in names:
            expected = self._expected.pop(name, None)
            if expected is None:
                expected = self._idle_state(name, frozenset(), now)
            if not self._is_as(expected, name):
                yield name

    def _pending(self) -> Collection[str]:
        try:
            return frozenset(os.listdir(self._pending_orders))  # noqa: PTH208 - see the module
        except OSError:
            return frozenset()

    def _idle_state(self, name: str, pending: Collection[str], now: datetime) -> _Here | None:
        """Return how this machine's files were when a renewal state was saved, None if there may be
        something to do.
        """
        certificate_name(name)
        if name in pending:
            return None
        try:
            data = _read(f"{self._renewals}{name}.json")
            spec = signature(os.stat(f"{self._specs}{name}.toml"))  # noqa: PTH116 - see the module
            head, found, row = data.rpartition(ROW)
            made_here = b'{"of": "%b"' % digest_of(head + _END, self._made_by)
            if found and row.startswith(made_here) and _NO_ATTEMPTS in head:
                return self._by_lines(head.decode().split("\n"), spec, now)
            return self._by_fields(_parse(data.decode()), spec, now)
        except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
            return None

    def _by_lines(self, lines: Sequence[str], spec: Signature, now: datetime) -> _Here | None:
        """Return what `_by_fields` returns for a document without attempts that is, to the byte, as
        this certctl wrote it, which its row proves: nothing in it needs parsing.
        """
        _, _, saved_at, at, _, seen, _ = lines
        known = f'  "seen": {{"spec": {spec}, "defaults": "{self._defaults}", '
        idle = (
            seen.startswith(known)
            and _is_past(_value(saved_at).strip('"'), now)
            and (_value(at) == "null" or now < datetime.fromisoformat(_value(at).strip('"')))
        )
        return seen[len(known) : -len("},")] if idle else None

    def _by_fields(self, state: Seen, spec: Signature, now: datetime) -> _Here | None:
        at, seen = state["next_action_at"], state["seen"]
        idle = (
            _is_past(state["saved_at"], now)
            # a failure counts in every run until it is resolved
            and not any(each["failures"] for each in state["renewal_state"]["attempts"])
            and (at is None or now < datetime.fromisoformat(at))
            and state["version"] == FORMAT
            and seen["spec"] == spec
            and seen["defaults"] == self._defaults
        )
        here = {each: seen[each] for each in ("live", "deployed", "files")}
        return _one_line(here)[1:-1] if idle else None

    def _is_as(self, expected: _Here | None, name: str) -> bool:
        if expected is None:
            return False
        two = expected.count(",") > _MOST_WITH_ONE
        return expected == self._found_here(name, two=two)

    def _found_here(self, name: str, *, two: bool) -> _Here | None:
        """Return how this machine's files are now, None if they cannot be examined. `two`: the live
        version had two certificates.
        """
        try:
            live = self._live(name)
            # the link is relative to its directory: ../archive/NAME/N
            files = None if live is None else files_signature(self._home + live[2:], two=two)
            deployed = self._deployed(name)
        except OSError:
            return None
        link = "null" if live is None else f'"{live}"'
        return f'"live": {link}, "deployed": {deployed or "null"}, "files": {files or "null"}'

    def _live(self, name: str) -> str | None:
        try:
            return os.readlink(f"{self._links}{name}")  # noqa: PTH115 - see the module
        except FileNotFoundError:
            return None

    def _deployed(self, name: str) -> Signature | None:
        try:
            return signature(os.stat(f"{self._deployments}{name}.json"))  # noqa: PTH116
        except FileNotFoundError:
            return None


def digest_of(document: bytes, made_by: bytes) -> bytes:
    """Return the digest of a document, and of what made it, as it is written in the row."""
    return hashlib.blake2b(document + made_by, digest_size=8).hexdigest().encode()


def _value(line: str) -> str:
    """Return the text of the value in a line of a document."""
    return line.partition(": ")[2].removesuffix(",")


def _is_past(at: str, now: datetime) -> bool:
    return believed(datetime.fromisoformat(at), now) is not None


def _read(path: str) -> bytes:
    descriptor = os.open(path, _FLAGS)
    try:
        data = os.read(descriptor, _FIRST_READ)
        if len(data) == _FIRST_READ:
            data += os.read(descriptor, _LIMIT)
    finally:
        os.close(descriptor)
    return data
