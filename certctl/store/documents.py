"""JSON documents: read strictly, written durably. Each carries a `version` and stands alone.

What a document means belongs to `certctl.store.records`; this module knows objects, texts, numbers
and times. Keys that it does not know are left alone, so that a format can grow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from certctl.errors import StoreCorrupt
from certctl.system.files import PRIVATE_FILE, read_if_exists, write_atomic

FORMAT = 1
"""The `version` that every document of this certctl carries."""

_LIMIT = 4 << 20

Json = Mapping[str, object]


def encode(values: Json) -> bytes:
    """Return a document's bytes: `version` first, then `values`, for people to read too."""
    return (json.dumps({"version": FORMAT, **values}, indent=2, ensure_ascii=False) + "\n").encode()


def write_document(path: Path, values: Json, mode: int = PRIVATE_FILE) -> None:
    """Replace the document at `path`, durably. Raises `StoreError`."""
    write_atomic(path, encode(values), mode)


def read_document(path: Path) -> Fields | None:
    """Return the document at `path`, or None where there is none.

    Raises `StoreCorrupt` where it is no JSON object or of another version, `StoreError` where it
    cannot be read.
    """
    data = read_if_exists(path, _LIMIT)
    if data is None:
        return None
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise corrupt(str(path), f"it is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise corrupt(str(path), "it is no JSON object")
    fields = Fields(str(path), document)
    found = fields.integer("version")
    if found != FORMAT:
        raise corrupt(
            str(path), f"it has version {found} of its format, this certctl reads {FORMAT}"
        )
    return fields


def corrupt(where: str, problem: str) -> StoreCorrupt:
    """Return the error for a file that is not what its format says."""
    return StoreCorrupt(
        f"{where} cannot be understood: {problem}",
        hint="Restore it from a backup, or remove it if it cannot be repaired.",
    )


def moment(value: datetime | None) -> str | None:
    """Return a time as documents have it: RFC 3339, UTC, `Z`."""
    if value is None:
        return None
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Fields:
    """A JSON object that is read field by field; one that is wrong is a `StoreCorrupt` that names
    file and field. The `..._or_none` kind takes a missing field as None.
    """

    def __init__(self, where: str, values: Json) -> None:
        self.where = where
        self.values = values

    def text(self, key: str) -> str:
        """Return a text."""
        value = self.values.get(key)
        if not isinstance(value, str):
            raise self.wrong(key, "a text")
        return value

    def text_or_none(self, key: str) -> str | None:
        """Return a text."""
        return None if self.values.get(key) is None else self.text(key)

    def integer(self, key: str) -> int:
        """Return a whole number."""
        value = self.values.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(key, "a whole number")
        return value

    def integer_or_none(self, key: str) -> int | None:
        """Return a whole number."""
        return None if self.values.get(key) is None else self.integer(key)

    def number(self, key: str) -> float:
        """Return a number."""
        value = self.values.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.wrong(key, "a number")
        return float(value)

    def flag(self, key: str) -> bool:
        """Return true or false."""
        value = self.values.get(key)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def moment(self, key: str) -> datetime:
        """Return a time, in UTC."""
        text = self.text(key)
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            raise self.wrong(key, "a time") from None
        if value.tzinfo is None:
            raise self.wrong(key, "a time with its offset from UTC")
        return value.astimezone(UTC)

    def moment_or_none(self, key: str) -> datetime | None:
        """Return a time, in UTC."""
        return None if self.values.get(key) is None else self.moment(key)

    def moments(self, key: str) -> tuple[datetime, ...]:
        """Return a list of times; a missing one is empty."""
        known = self.texts(key)
        found = (Fields(self.where, {key: each}).moment(key) for each in known)
        return tuple(found)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; empty where the field is missing."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.wrong(key, "a list of texts")
        return tuple(value)

    def integers(self, key: str) -> tuple[int, ...]:
        """Return a list of whole numbers; empty where the field is missing."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(type(each) is int for each in value):
            raise self.wrong(key, "a list of whole numbers")
        return tuple(value)

    def object(self, key: str) -> Fields:
        """Return an object within this one."""
        value = self.values.get(key)
        if not isinstance(value, dict):
            raise self.wrong(key, "an object")
        return Fields(f"{self.where}: {key}", value)

    def object_or_none(self, key: str) -> Fields | None:
        """Return an object within this one."""
        return None if self.values.get(key) is None else self.object(key)

    def objects(self, key: str) -> tuple[Fields, ...]:
        """Return a list of objects."""
        value = self.values.get(key)
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise self.wrong(key, "a list of objects")
        return tuple(Fields(f"{self.where}: {key}", each) for each in value)

    def wrong(self, key: str, wanted: str) -> StoreCorrupt:
        """Return the error for a field that is not what it should be."""
        return corrupt(self.where, f"{key} should be {wanted}")
