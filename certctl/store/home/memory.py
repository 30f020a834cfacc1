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
from typing import TypeVar, cast

from certctl.model.certificate import RenewalState, Version
from certctl.model.delivery import Deployment
from certctl.model.errors import StoreCorrupt
from certctl.model.lazy_dataclass import dataclass
from certctl.rules.remembered_state import (
    believed_deployment,
    believed_renewal_state,
    only_results_of_deployment,
    only_results_of_renewal,
)
from certctl.store.home.documents import Fields, Json, read_document, timestamp, write_document
from certctl.store.home.idle import Signature, file_signature
from certctl.store.home.layout import Layout
from certctl.store.home.records import (
    from_deployment,
    from_renewal_state,
    to_deployment,
    to_renewal_state,
)
from certctl.system.files import Sync, remove_file, rename

_State = TypeVar("_State")


@dataclass(frozen=True)
class SavedState:
    """The contents of `renewal/NAME.json`: the renewal state as it was saved, when, and the highest
    version number ever used.
    """

    renewal_state: RenewalState
    saved_at: datetime | None
    last_version: int


class StateFiles:
    """The state files of all certificates below one home directory."""

    def __init__(self, layout: Layout, warn: Callable[[str], None]) -> None:
        self._layout = layout
        self._warn = warn
        self._seen: dict[str, object] = {}
        self._known: dict[Path, tuple[Signature, object]] = {}

    def renewal(self, name: str, version: Version | None, now: datetime) -> RenewalState:
        """Return the renewal state of a certificate with this current version; an empty one if it
        is missing or cannot be parsed.
        """
        saved = self.load(name)
        if saved is None:
            return RenewalState()
        return believed_renewal_state(saved.renewal_state, version, saved.saved_at, now)

    def load(self, name: str) -> SavedState | None:
        """Return what the renewal state's file contains, None if it is missing. Without what cannot
        be parsed, and a warning.
        """
        path = self._layout.renewal(name)
        before = file_signature(path)
        self._seen[name] = None
        self._known.pop(path, None)
        fields = self._read(path, lambda fields: fields)
        if fields is None:
            return None
        last_version = self._parsed(lambda: _last_version(fields)) or 0
        state = self._parsed(lambda: (to_renewal_state(fields), fields.time_or_none("saved_at")))
        if state is None:
            return SavedState(RenewalState(), None, last_version)
        self._seen[name] = fields.values.get("seen")
        self._note(path, before, state[0])
        return SavedState(*state, last_version)

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
            renewal_state,
            to_renewal_state,
            only_results_of_renewal,
        )

    def deployment(self, name: str, now: datetime) -> Deployment | None:
        """Return the deployment state; None if it is missing or cannot be parsed."""
        found = self.load_deployment(name)
        return None if found is None else believed_deployment(found, now)

    def load_deployment(self, name: str) -> Deployment | None:
        """Return the deployment state as it was saved; None if it is missing or cannot be
        parsed.
        """
        path = self._layout.deployed(name)
        before = file_signature(path)
        self._known.pop(path, None)
        found = self._read(path, to_deployment)
        if found is not None:
            self._note(path, before, found)
        return found

    def save_deployment(self, name: str, deployment: Deployment) -> None:
        """Write the deployment state."""
        self._replace(
            self._layout.deployed(name),
            from_deployment(deployment),
            deployment,
            to_deployment,
            only_results_of_deployment,
        )

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
        self._replace(
            self._layout.renewal(name),
            kept,
            RenewalState(compromised_keys=compromised),
            to_renewal_state,
            lambda _before, _after: False,
        )

    def forget_deployment(self, name: str) -> None:
        """Remove the deployment state."""
        remove_file(self._layout.deployed(name))

    def _read(self, path: Path, read: Callable[[Fields], _State]) -> _State | None:
        def parse() -> _State | None:
            fields = read_document(path)
            return None if fields is None else read(fields)

        return self._parsed(parse)

    def _parsed(self, parse: Callable[[], _State | None]) -> _State | None:
        try:
            return parse()
        except StoreCorrupt as error:
            self._warn(f"{error.message}. Its contents are ignored.")
            return None

    def _replace(
        self,
        path: Path,
        values: Json,
        state: _State,
        read: Callable[[Fields], _State],
        may_be_lost: Callable[[_State, _State], bool],
    ) -> None:
        """Write a document. A power failure may bring the old one back if the difference to the new
        one `may_be_lost`.
        """
        self._layout.create_directory(path.parent)
        before = self._current(path, read)
        lossy = before is not None and may_be_lost(before, state)
        write_document(path, values, sync=Sync.CONTENT if lossy else Sync.ALL)
        self._note(path, file_signature(path), state)

    def _current(self, path: Path, read: Callable[[Fields], _State]) -> _State | None:
        """Return what a document contains, None if it is missing. It is read only if it is not the
        one last read or written; one that cannot be parsed is renamed.
        """
        known = self._known.get(path)
        if known is not None and known[0] == file_signature(path):
            return cast("_State", known[1])
        try:
            fields = read_document(path)
            return None if fields is None else read(fields)
        except StoreCorrupt:
            rename(path, path.with_name(f"{path.name}.corrupt"))
            return None

    def _note(self, path: Path, seen: Signature | None, state: object) -> None:
        if seen is not None:
            self._known[path] = seen, state


def _last_version(fields: Fields) -> int:
    return fields.integer_or_none("last_version") or 0
