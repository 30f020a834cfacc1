"""The state kept between runs: `renewal/NAME.json` and `deployed/NAME.json`.

Times in them that cannot be true by the clock do not count (`certctl.rules.remembered_times`).

These files can be lost without harm. One that cannot be parsed counts as missing, with a warning,
and is renamed to `NAME.json.corrupt` when a new one is written. `certctl.store.home.local` decides
what a missing file means.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from certctl.model.certificate import RenewalState, Version
from certctl.model.delivery import Deployment
from certctl.model.errors import StoreCorrupt
from certctl.rules.remembered_state import believed_deployment, believed_renewal_state
from certctl.store.home.documents import Fields, Json, read_document, timestamp, write_document
from certctl.store.home.layout import Layout
from certctl.store.home.records import (
    from_deployment,
    from_renewal_state,
    to_deployment,
    to_renewal_state,
)
from certctl.system.files import remove_file, rename

_State = TypeVar("_State")


class StateFiles:
    """The state files of all certificates below one home directory."""

    def __init__(self, layout: Layout, warn: Callable[[str], None]) -> None:
        self._layout = layout
        self._warn = warn
        self._seen: dict[str, object] = {}

    def renewal(self, name: str, version: Version | None, now: datetime) -> RenewalState:
        """Return the renewal state of a certificate with this current version; an empty one if it
        is missing or cannot be parsed.
        """

        def read(fields: Fields) -> RenewalState:
            self._seen[name] = fields.values.get("seen")
            saved_at = fields.time_or_none("saved_at")
            return believed_renewal_state(to_renewal_state(fields), version, saved_at, now)

        self._seen[name] = None
        return self._read(self._layout.renewal(name), read) or RenewalState()

    def seen(self, name: str) -> Json:
        """Return what was seen when the renewal state was saved that `renewal` last returned."""
        seen = self._seen.get(name)
        return seen if isinstance(seen, dict) else {}

    def last_version(self, name: str) -> int:
        """Return the highest version number ever used, 0 if there is none. It is kept after the
        certificate is deleted.
        """
        return self._read(self._layout.renewal(name), _last_version) or 0

    def save_renewal(
        self,
        name: str,
        renewal_state: RenewalState,
        *,
        last_version: int,
        next_action_at: datetime | None,
        seen: Json,
        now: datetime,
    ) -> None:
        """Write the renewal state, and what `certctl.store.home.idle` compares later."""
        self._replace(
            self._layout.renewal(name),
            {
                "saved_at": timestamp(now),
                "next_action_at": timestamp(next_action_at),
                "seen": seen,
                "last_version": last_version,
                **from_renewal_state(renewal_state),
            },
            to_renewal_state,
        )

    def deployment(self, name: str, now: datetime) -> Deployment | None:
        """Return the deployment state; None if it is missing or cannot be parsed."""
        return self._read(
            self._layout.deployed(name),
            lambda fields: believed_deployment(to_deployment(fields), now),
        )

    def save_deployment(self, name: str, deployment: Deployment) -> None:
        """Write the deployment state."""
        self._replace(self._layout.deployed(name), from_deployment(deployment), to_deployment)

    def forget_renewal(self, name: str, *, last_version: int) -> None:
        """Remove the renewal state, except the highest version number and the compromised keys,
        which must not be used again.
        """
        found = self._read(self._layout.renewal(name), to_renewal_state) or RenewalState()
        compromised = found.compromised_keys
        if not last_version and not compromised:
            remove_file(self._layout.renewal(name))
            return
        kept: dict[str, object] = {"last_version": last_version}
        if compromised:
            kept["compromised_keys"] = list(compromised)
        self._replace(self._layout.renewal(name), kept, to_renewal_state)

    def forget_deployment(self, name: str) -> None:
        """Remove the deployment state."""
        remove_file(self._layout.deployed(name))

    def _read(self, path: Path, read: Callable[[Fields], _State]) -> _State | None:
        try:
            fields = read_document(path)
            return None if fields is None else read(fields)
        except StoreCorrupt as error:
            self._warn(f"{error.message}. Its contents are ignored.")
            return None

    def _replace(self, path: Path, values: Json, read: Callable[[Fields], object]) -> None:
        self._layout.create_directory(path.parent)
        try:
            fields = read_document(path)
            if fields is not None:
                read(fields)
        except StoreCorrupt:
            rename(path, path.with_name(f"{path.name}.corrupt"))
        write_document(path, values)


def _last_version(fields: Fields) -> int:
    return fields.integer_or_none("last_version") or 0
