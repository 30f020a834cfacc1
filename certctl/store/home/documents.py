"""JSON documents: read strictly, written durably. Each has a `version`.

What a document means is defined in `certctl.store.home.records`; this module knows objects,
strings, numbers and times. Unknown keys are ignored, so that a format can be extended.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from certctl.model.errors import StoreCorrupt
from certctl.system.files import PRIVATE_FILE, Sync, read_own, write_atomic

FORMAT = 1
"""The `version` that this certctl writes and accepts."""

_LIMIT = 4 << 20

Json = Mapping[str, object]


def encode(values: Json) -> bytes:
    """Return a document as indented JSON: `version` first, then `values`."""
    return (json.dumps({"version": FORMAT, **values}, indent=2, ensure_ascii=False) + "\n").encode()


def write_document(
    path: Path, values: Json, mode: int = PRIVATE_FILE, *, sync: Sync = Sync.ALL
) -> None:
    """Replace the document at `path`, durably. Raises `StoreError`."""
    write_atomic(path, encode(values), mode, sync=sync)


def read_document(path: Path) -> Fields | None:
    """Return the document at `path`, or None if there is no such file.

    Raises `StoreCorrupt` if it is not a JSON object, has another version, or could have been
    written by another user, `StoreError` if it cannot be read.
    """
    data = read_own(path, _LIMIT)
    if data is None:
        return None
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise corrupt(str(path), f"it is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise corrupt(str(path), "it is not a JSON object")
    fields = Fields(str(path), document)
    found = fields.integer("version")
    if found != FORMAT:
        raise corrupt(
            str(path), f"its format has version {found}, but this certctl reads version {FORMAT}"
        )
    return fields


def corrupt(where: str, problem: str) -> StoreCorrupt:
    """Return the error for a file that does not have the expected format."""
    return StoreCorrupt(
        f"{where} is not valid: {problem}",
        hint="Restore the file from a backup. If there is none, delete it.",
    )


def timestamp(value: datetime | None) -> str | None:
    """Return a time as it is written in documents: RFC 3339 in UTC, with `Z`."""
    if value is None:
        return None
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Fields:
    """A JSON object that is read field by field. A field of the wrong type raises `StoreCorrupt`
    with the file and the field in it. The `..._or_none` methods return None if it is missing.
    """

    def __init__(self, where: str, values: Json) -> None:
        self.where = where
        self.values = values

    def string(self, key: str) -> str:
        """Return a string."""
        value = self.values.get(key)
        if not isinstance(value, str):
            raise self.invalid(key, "a string")
        return value

    def string_or_none(self, key: str) -> str | None:
        """Return a string."""
        return None if self.values.get(key) is None else self.string(key)

    def integer(self, key: str) -> int:
        """Return an integer."""
        value = self.values.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.invalid(key, "an integer")
        return value

    def integer_or_none(self, key: str) -> int | None:
        """Return an integer."""
        return None if self.values.get(key) is None else self.integer(key)

    def number(self, key: str) -> float:
        """Return a number."""
        value = self.values.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.invalid(key, "a number")
        return float(value)

    def boolean(self, key: str, *, default: bool | None = None) -> bool:
        """Return a boolean; `default` is for a field that older versions do not have."""
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.invalid(key, "true or false")
        return value

    def time(self, key: str) -> datetime:
        """Return a time, in UTC."""
        text = self.string(key)
        try:
            value = datetime.fromisoformat(text)
            if value.tzinfo is None:
                raise self.invalid(key, "a time with an offset from UTC")
            return value.astimezone(UTC)
        except (ValueError, OverflowError):  # the offset can lead out of the calendar
            raise self.invalid(key, "a time") from None

    def time_or_none(self, key: str) -> datetime | None:
        """Return a time, in UTC."""
        return None if self.values.get(key) is None else self.time(key)

    def times(self, key: str) -> tuple[datetime, ...]:
        """Return a list of times; empty if the field is missing."""
        values = self.strings(key)
        return tuple(Fields(self.where, {key: each}).time(key) for each in values)

    def strings(self, key: str) -> tuple[str, ...]:
        """Return a list of strings; empty if the field is missing."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.invalid(key, "a list of strings")
        return tuple(value)

    def integers(self, key: str) -> tuple[int, ...]:
        """Return a list of integers; empty if the field is missing."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(type(each) is int for each in value):
            raise self.invalid(key, "a list of integers")
        return tuple(value)

    def object(self, key: str) -> Fields:
        """Return a nested object."""
        value = self.values.get(key)
        if not isinstance(value, dict):
            raise self.invalid(key, "an object")
        return Fields(f"{self.where}: {key}", value)

    def object_or_none(self, key: str) -> Fields | None:
        """Return a nested object."""
        return None if self.values.get(key) is None else self.object(key)

    def objects(self, key: str) -> tuple[Fields, ...]:
        """Return a list of objects."""
        value = self.values.get(key)
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise self.invalid(key, "a list of objects")
        return tuple(Fields(f"{self.where}: {key}", each) for each in value)

    def invalid(self, key: str, expected: str) -> StoreCorrupt:
        """Return the error for a field that has the wrong type."""
        return corrupt(self.where, f"{key} must be {expected}")
