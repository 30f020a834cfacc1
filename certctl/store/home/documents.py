"""JSON documents: read strictly, written durably. Each has a `version`.

What a document contains is defined by the dataclasses of `certctl.model`
(`certctl.store.codec`). A document of an older version is read as the current one, and becomes one
when it is next written; one of a newer version is refused and left alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from certctl.model.errors import ConfigurationError, StoreCorrupt, StoreNewer
from certctl.store.codec import Json, corrupt, from_json
from certctl.system.files import PRIVATE_FILE, Sync, write_atomic
from certctl.system.reading import read_own

FORMAT = 2
"""The `version` of the documents that this certctl writes; it reads this one and version 1."""

TWO_KEYS = 3
"""The `version` of a document about a certificate with two key types. Earlier releases refuse it,
since they would lose the second one. In all else it is as version 2.
"""

LIMIT = 4 << 20

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
"""Returns what version 2 has for an object of version 1 (`certctl.store.home.version1`)."""

_Noun = TypeVar("_Noun")


_one_line = json.JSONEncoder(ensure_ascii=False).encode


def encode(values: Json, version: int = FORMAT) -> bytes:
    """Return a document as JSON with one field a line: `version` first, then `values`.

    Python indents what is deeper ten times as slowly as it writes it in one line.
    """
    document = {"version": version, **values}
    fields = ",\n".join(f"  {_one_line(key)}: {_one_line(document[key])}" for key in document)
    return f"{{\n{fields}\n}}\n".encode()


def write_document(
    path: Path,
    values: Json,
    mode: int = PRIVATE_FILE,
    *,
    sync: Sync = Sync.ALL,
    version: int = FORMAT,
) -> None:
    """Replace the document at `path`, durably. Raises `StoreError`."""
    write_atomic(path, encode(values, version), mode, sync=sync)


def read_document(path: Path, upgrade: Upgrade) -> dict[str, Any] | None:
    """Return the document at `path`, or None if there is no such file. `upgrade` is called for one
    of version 1.

    Raises `StoreCorrupt` if it is not a JSON object, or could have been written by another user,
    `StoreNewer` if it has a newer version, `StoreError` if it cannot be read.
    """
    data = read_own(path, LIMIT)
    if data is None:
        return None
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise corrupt(str(path), f"it is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise corrupt(str(path), "it is not a JSON object")
    found = document.pop("version", None)
    if type(found) is not int or found < 1:
        raise corrupt(str(path), "version must be a positive integer")
    if found > TWO_KEYS:
        raise StoreNewer(
            f"{path} was written by a newer certctl: it has format version {found}, but this"
            f" certctl reads up to version {TWO_KEYS}",
            hint="Update certctl. Nothing was changed.",
        )
    return document if found >= FORMAT else upgrade(document)


def require_not_newer(path: Path) -> None:
    """Raise `StoreNewer` if the document at `path` has a newer version, whatever else is wrong."""
    with suppress(StoreCorrupt, ConfigurationError):
        read_document(path, lambda old: old)


def read_record(path: Path, kind: type[_Noun], upgrade: Upgrade, **given: object) -> _Noun | None:
    """Return the dataclass in the document at `path`, None if there is no such file; the fields in
    `given` are not read. Raises as `read_document` and `certctl.store.codec.from_json` do.
    """
    document = read_document(path, upgrade)
    return None if document is None else from_json(kind, document, str(path), **given)
