"""The audit trail, `log/audit.jsonl`: one line for each registration, order, issued certificate,
deployment, revocation and failure.

Each line is appended as soon as the event happens, so that it is recorded even if the process is
killed immediately afterwards. certctl never reads the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from pathlib import Path

from certctl.model import events
from certctl.model.errors import ConfigurationError, StoreError
from certctl.model.events import Event
from certctl.model.text import escaped
from certctl.store.home.layout import Layout
from certctl.store.home.trust import HomeTrust, create_trusted_directory
from certctl.system.trust import refuse

FORMAT = 1

_APPEND = (
    # without O_NONBLOCK, opening a pipe waits for a reader
    os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
)

RECORDED: tuple[type[Event], ...] = (
    events.AccountRegistered,
    events.OrderPlaced,
    events.CertificateSaved,
    events.Deployed,
    events.Verified,
    events.VerifyFailed,
    events.Revoked,
    events.Failed,
    events.NextCa,
)
"""The events that are recorded."""


class Audit:
    """The audit trail of one home directory. `warn` is called once if it cannot be written."""

    def __init__(self, home: Path, warn: Callable[[str], None]) -> None:
        self._layout = Layout(home.absolute())
        self._trust = HomeTrust(self._layout)
        self._warn: Callable[[str], None] | None = warn

    def sink(self, event: Event) -> None:
        """Record an event if its type is in `RECORDED`; never raises."""
        if not isinstance(event, RECORDED):
            return
        try:
            self._append(line(event))
        except (OSError, StoreError, ConfigurationError) as error:
            if self._warn is not None:
                self._warn(f"the audit trail {self._layout.audit} cannot be written: {error}")
                self._warn = None

    def _append(self, text: str) -> None:
        path = self._layout.audit
        create_trusted_directory(self._layout, self._trust, path.parent)
        descriptor = os.open(path, _APPEND, 0o600)
        try:
            refuse(path, os.fstat(descriptor))
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def line(event: Event) -> str:
    """Return the line of the audit trail for an event."""
    return json.dumps({"version": FORMAT, **event_object(event)}) + "\n"


def event_object(event: Event) -> dict[str, object]:
    """Return an event as JSON: `at`, `kind`, `name` and `facts`; times are RFC 3339 in UTC."""
    facts = {each.name: _plain(getattr(event, each.name)) for each in fields(event)}
    at, name = facts.pop("at"), facts.pop("name") or None
    return {"at": at, "kind": event.kind, "name": name, "facts": facts}


def _plain(value: object) -> object:
    if isinstance(value, str):
        return escaped(value, lines=True)
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else value
