"""What was taken over from other ACME clients, and how to undo it: `imported/NAME.json`, and
`imported/unfinished/NAME.json` while files of the other client are being changed.

A record is complete before the first change, so that the next run can finish or undo it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from certctl.model.importing import ImportRecord, ImportState, TakenSchedule, TakenSchedules
from certctl.model.names import certificate_name
from certctl.store.codec import to_json
from certctl.store.home.documents import read_record, write_document
from certctl.store.home.layout import Layout
from certctl.system.file_errors import as_store_error
from certctl.system.files import remove_file, write_atomic

_UNFINISHED = "unfinished"
_SCHEDULES = "schedules.json"


class Imports:
    """Implements `certctl.model.ports.Imports` in one home directory."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def all(self) -> Sequence[ImportRecord]:
        """Return all records, sorted by name; an unfinished one in place of the finished one."""
        names = {*_names(self._layout.imported), *_names(self._directory(_UNFINISHED))}
        found = (self.find(name) for name in sorted(names))
        return [each for each in found if each is not None]

    def unfinished(self) -> Sequence[str]:
        """Return the names of certificates whose import or return was interrupted. Fast."""
        return _names(self._directory(_UNFINISHED))

    def find(self, name: str) -> ImportRecord | None:
        for path in (self._path(name, _UNFINISHED), self._path(name)):
            found = read_record(path, ImportRecord, _current)
            if found is not None:
                return found
        return None

    def save(self, record: ImportRecord) -> None:
        unfinished = self._path(record.certificate, _UNFINISHED)
        done = record.state is ImportState.DONE
        path = self._path(record.certificate) if done else unfinished
        self._layout.create_directory(path.parent)
        write_document(path, to_json(record))
        if done:
            remove_file(unfinished)

    def drop(self, name: str) -> None:
        remove_file(self._path(name))
        remove_file(self._path(name, _UNFINISHED))

    def schedules(self) -> Sequence[TakenSchedule]:
        found = read_record(self._layout.imported / _SCHEDULES, TakenSchedules, _current)
        return () if found is None else found.schedules

    def save_schedules(self, schedules: Sequence[TakenSchedule]) -> None:
        self._layout.create_directory(self._layout.imported)
        document = to_json(TakenSchedules(tuple(schedules)))
        write_document(self._layout.imported / _SCHEDULES, document)

    def save_credentials(self, name: str, provider: str, values: Mapping[str, str]) -> None:
        """Write `credentials/NAME.toml` for a DNS provider."""
        directory = self._layout.create_directory(self._layout.home / "credentials")
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        text = "\n".join([f"provider = {json.dumps(provider)}", *lines, ""])
        write_atomic(directory / f"{certificate_name(name)}.toml", text.encode())

    def _directory(self, below: str) -> Path:
        return self._layout.imported / below

    def _path(self, name: str, below: str = "") -> Path:
        return self._layout.imported / below / f"{certificate_name(name)}.json"


def _names(directory: Path) -> list[str]:
    with as_store_error("list", directory):
        try:
            entries = os.listdir(directory)  # noqa: PTH208 - only names are needed
        except FileNotFoundError:
            return []
    return sorted(
        each.removesuffix(".json")
        for each in entries
        if each.endswith(".json") and each != _SCHEDULES and not each.startswith(".")
    )


def _current(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document as it is: version 1 had none of these."""
    return document
