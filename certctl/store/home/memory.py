"""The state kept between runs: `renewal/NAME.json` and `deployed/NAME.json`.

Times in them that cannot be true by the clock do not count (`certctl.rules.remembered_times`).

These files can be lost without harm. One that cannot be parsed counts as missing, with a warning,
and is renamed to `NAME.json.corrupt` when a new one is written. `certctl.rules.current_state`
decides what a missing file means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
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
from certctl.store.codec import Json, from_json, to_json
from certctl.store.home import version1
from certctl.store.home.documents import Upgrade, encode, read_document, read_record
from certctl.store.home.idle import file_signature
from certctl.store.home.layout import Layout
from certctl.store.home.seen import SeenFiles
from certctl.system.files import Sync, remove_file, rename, write_atomic

_Document = TypeVar("_Document")


@dataclass(frozen=True)
class SavedState:
    """The contents of `renewal/NAME.json`: when it was saved, what is compared by
    `certctl.store.home.idle`, the highest version number ever used, and the renewal state.

    Of a deleted certificate there are only the last version and the compromised keys.
    """

    saved_at: datetime | None = None
    next_action_at: datetime | None = None
    last_version: int = 0
    seen: Mapping[str, object] = field(default_factory=dict)
    renewal_state: RenewalState = field(default_factory=RenewalState)


@dataclass(frozen=True)
class SavedDeployments:
    """The contents of `deployed/NAME.json`."""

    deployments: tuple[Deployment, ...]

    def at(self, destination: str) -> Deployment | None:
        """Return the deployment at a destination."""
        found = (each for each in self.deployments if each.destination == destination)
        return next(found, None)


class StateFiles:
    """The state files of all certificates below one home directory."""

    def __init__(self, layout: Layout, warn: Callable[[str], None]) -> None:
        self._layout = layout
        self._warn = warn
        self._seen: dict[str, Json] = {}
        self._known = SeenFiles[object]()

    def renewal(self, name: str, version: Version | None, now: datetime) -> RenewalState:
        """Return the renewal state of a certificate with this current version; an empty one if it
        is missing or cannot be parsed.
        """
        saved = self.load(name)
        if saved is None:
            return RenewalState()
        return believed_renewal_state(saved.renewal_state, version, saved.saved_at, now)

    def load(self, name: str) -> SavedState | None:
        """Return what the renewal state's file contains, None if it is missing. If it cannot be
        parsed, only the last version is returned, and there is a warning.
        """
        path = self._layout.renewal(name)
        known = self._known_document(path, SavedState)
        if known is not None:
            self._seen[name] = known.seen
            return known
        before = file_signature(path)
        self._seen[name] = {}
        self._known.drop(path)
        document = self._parsed(lambda: read_document(path, version1.renewal))
        if document is None:
            return None
        found = self._parsed(lambda: from_json(SavedState, document, str(path)))
        if found is None:
            number = document.get("last_version")
            return SavedState(last_version=number if type(number) is int else 0)
        self._seen[name] = found.seen
        self._known.put(path, before, found)
        return found

    def seen(self, name: str) -> Json:
        """Return what was seen when the renewal state was saved that `renewal` last returned."""
        return self._seen.get(name, {})

    def last_version(self, name: str) -> int:
        """Return the highest version number ever used, 0 if there is none. It is kept after the
        certificate is deleted.
        """
        found = self.load(name)
        return 0 if found is None else found.last_version

    def save_renewal(
        self,
        name: str,
        renewal_state: RenewalState,
        *,
        last_version: int,
        next_action_at: datetime | None,
        seen: Json,
        now: datetime,
        with_row: Callable[[bytes], bytes] = bytes,
    ) -> None:
        """Write the renewal state, and what `certctl.store.home.idle` compares later; `with_row`
        appends the row of `list` (`certctl.store.home.saved_rows`).
        """
        saved = SavedState(now, next_action_at, last_version, seen, renewal_state)
        before = self._current(self._layout.renewal(name), SavedState, version1.renewal)
        lossy = before is not None and only_results_of_renewal(before.renewal_state, renewal_state)
        self._write(self._layout.renewal(name), saved, lossy=lossy, with_row=with_row)

    def deployments(self, name: str, now: datetime) -> tuple[Deployment, ...] | None:
        """Return the deployments by destination; None if they are missing or cannot be parsed."""
        found = self.load_deployments(name)
        if found is None:
            return None
        return tuple(believed_deployment(each, now) for each in found.deployments)

    def load_deployments(self, name: str) -> SavedDeployments | None:
        """Return the deployments as they were saved; None if they are missing or cannot be
        parsed.
        """
        path = self._layout.deployed(name)
        known = self._known_document(path, SavedDeployments)
        if known is not None:
            return known
        before = file_signature(path)
        self._known.drop(path)
        found = self._parsed(lambda: read_record(path, SavedDeployments, version1.deployed))
        if found is not None:
            self._known.put(path, before, found)
        return found

    def save_deployment(self, name: str, deployment: Deployment) -> None:
        """Write the state of a deployment, in place of the one at the same destination."""
        path = self._layout.deployed(name)
        found = self._current(path, SavedDeployments, version1.deployed) or SavedDeployments(())
        before = found.at(deployment.destination)
        others = (each for each in found.deployments if each.destination != deployment.destination)
        lossy = before is not None and only_results_of_deployment(before, deployment)
        self._write(path, SavedDeployments((deployment, *others)), lossy=lossy)

    def forget_renewal(self, name: str, *, last_version: int) -> None:
        """Remove the renewal state, except the highest version number and the compromised keys,
        which must not be used again.
        """
        path = self._layout.renewal(name)
        found = self._current(path, SavedState, version1.renewal) or SavedState()
        compromised = found.renewal_state.compromised_keys
        if not last_version and not compromised:
            remove_file(path)
            return
        state = RenewalState(compromised_keys=compromised)
        kept = SavedState(last_version=last_version, renewal_state=state)
        self._write(path, kept, lossy=False)

    def forget_deployment(self, name: str) -> None:
        """Remove the deployment state."""
        remove_file(self._layout.deployed(name))

    def _parsed(self, parse: Callable[[], _Document | None]) -> _Document | None:
        try:
            return parse()
        except StoreCorrupt as error:
            self._warn(f"{error.message}. Its contents are ignored.")
            return None

    def _write(
        self,
        path: Path,
        document: object,
        *,
        lossy: bool,
        with_row: Callable[[bytes], bytes] = bytes,
    ) -> None:
        """Write a document; a power failure may bring the old one back if it is `lossy`."""
        self._layout.create_directory(path.parent)
        data = with_row(encode(to_json(document)))
        write_atomic(path, data, sync=Sync.CONTENT if lossy else Sync.ALL)
        self._known.put(path, file_signature(path), document)

    def _current(self, path: Path, kind: type[_Document], upgrade: Upgrade) -> _Document | None:
        """Return what a document contains, None if it is missing. It is read only if it is not the
        one last read or written; one that cannot be parsed is renamed.
        """
        known = self._known_document(path, kind)
        if known is not None:
            return known
        try:
            return read_record(path, kind, upgrade)
        except StoreCorrupt:
            rename(path, path.with_name(f"{path.name}.corrupt"))
            return None

    def _known_document(self, path: Path, _kind: type[_Document]) -> _Document | None:
        return cast("_Document | None", self._known.get(path, path))
