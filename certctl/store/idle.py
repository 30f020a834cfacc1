"""Which certificates nothing has to be done for, found out by one small file each.

Ten thousand certificates are looked at in a fraction of a second: hence system calls on ready-made
strings rather than `pathlib`, and none of this package's readers. Whatever is not as expected makes
a certificate busy, and then the whole truth is read elsewhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from datetime import datetime

from certctl.names import certificate_name
from certctl.settings import Settings
from certctl.store.documents import FORMAT, Json
from certctl.store.layout import Layout
from certctl.version import VERSION

_LIMIT = 256 * 1024
_USUAL = 8 * 1024
"""Bytes to read at first: for each read the interpreter sets aside as much as is asked for."""

Signature = list[int]
"""What tells one state of a file from another: mtime in nanoseconds, size, inode."""


def signature(facts: os.stat_result) -> Signature:
    """Return a file's signature."""
    return [facts.st_mtime_ns, facts.st_size, facts.st_ino]


class Idle:
    """Compares what a memory was written with to what is."""

    def __init__(self, layout: Layout, settings: Settings) -> None:
        self._renewals = f"{layout.renewals}/"
        self._specs = f"{layout.certificates}/"
        self._deployments = f"{layout.deployments}/"
        self._links = f"{layout.live_links}/"
        self._pendings = str(layout.pendings)
        # the rules may change with the program, the defaults with certctl.toml
        self._defaults = f"{VERSION} {settings.spec_digest()}"

    def facts(self, name: str, spec: Signature | None) -> Json:
        """Return what a memory is written with. `spec` is the signature of the file as it was when
        it was read for the decision: an edit made since then has not been weighed yet.
        """
        certificate_name(name)
        return {
            "spec": spec,
            "defaults": self._defaults,
            "live": self._live(name),
            "deployed": self._deployed(name),
        }

    def possibly_due(self, names: Iterable[str], now: datetime) -> Iterator[str]:
        """Yield the names whose time has come, with an order under way, or with anything changed
        since their memory was written.
        """
        try:
            pending = set(os.listdir(self._pendings))  # noqa: PTH208 - see the module
        except OSError:
            pending = set()
        for name in names:
            certificate_name(name)
            if name in pending or not self._rests(name, now):
                yield name

    def _rests(self, name: str, now: datetime) -> bool:
        try:
            descriptor = os.open(f"{self._renewals}{name}.json", os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = os.read(descriptor, _USUAL)
                if len(data) == _USUAL:
                    data += os.read(descriptor, _LIMIT)
            finally:
                os.close(descriptor)
            memory = json.loads(data.decode())
            at = memory["next_action_at"]
            return (
                (at is None or now < datetime.fromisoformat(at))
                and memory["version"] == FORMAT
                and memory["seen"]
                == {
                    "spec": signature(os.stat(f"{self._specs}{name}.toml")),  # noqa: PTH116
                    "defaults": self._defaults,
                    "live": self._live(name),
                    "deployed": self._deployed(name),
                }
            )
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return False

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
