"""The audit trail, `log/audit.jsonl`: a line for each registration, order, issuance, deploy,
revocation and failure.

Written at once and appended, so that what was done is on record even where the process is killed
right after; it is never read back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from pathlib import Path

from certctl import events
from certctl.errors import StoreError
from certctl.events import Event
from certctl.store.layout import Layout

FORMAT = 1

RECORDED: tuple[type[Event], ...] = (
    events.AccountRegistered,
    events.OrderPlaced,
    events.CertificateSaved,
    events.Deployed,
    events.Verified,
    events.VerifyFailed,
    events.Revoked,
    events.Failed,
)
"""The kinds of events that have a line."""


class Audit:
    """The trail of one home directory. `warn` is told, once, where it cannot be written."""

    def __init__(self, home: Path, warn: Callable[[str], None]) -> None:
        self._layout = Layout(home.absolute())
        self._warn: Callable[[str], None] | None = warn

    def sink(self, event: Event) -> None:
        """Record an event, if it is one of those that are; never raises."""
        if not isinstance(event, RECORDED):
            return
        try:
            self._append(line(event))
        except (OSError, StoreError) as error:
            if self._warn is not None:
                self._warn(f"the audit trail {self._layout.audit} cannot be written: {error}")
                self._warn = None

    def _append(self, text: str) -> None:
        path = self._layout.audit
        self._layout.make(path.parent)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def line(event: Event) -> str:
    """Return an event as one line of JSON; times are ISO 8601 in UTC."""
    facts = {each.name: _plain(getattr(event, each.name)) for each in fields(event)}
    at, name = facts.pop("at"), facts.pop("name") or None
    document = {"version": FORMAT, "at": at, "kind": event.kind, "name": name, "facts": facts}
    return json.dumps(document) + "\n"


def _plain(value: object) -> object:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else value
