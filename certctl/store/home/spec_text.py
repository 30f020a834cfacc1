"""The text of a `certificates/NAME.toml` that exists, edited with tomlkit.

An edit changes only the values that differ, so that comments, the order of keys and the notation of
values are preserved.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import tomlkit
import tomlkit.items
from tomlkit import TOMLDocument

from certctl.model.errors import ConfigurationError
from certctl.model.values import Value
from certctl.rules.copies import copy_table, parse_copy
from certctl.rules.options import Option
from certctl.rules.settings import OWN_KEYS, check, flatten
from certctl.store.home.new_spec import COPIES, LONG_LIST


def edited_text(text: str, wanted: Mapping[str, Value], table: Mapping[str, Option]) -> str | None:
    """Return the text with the values that differ replaced; None if the result would not mean
    `wanted`. Raises ValueError if the text is not valid TOML.
    """
    document = tomlkit.parse(text)
    present = _prune(document, "", wanted)
    for key, value in wanted.items():
        if key not in present or not _is_same(key, present[key], value, table):
            _set(document, key, value)
    result = tomlkit.dumps(document)
    return result if _parses_to(result, wanted, table) else None


def _prune(
    node: MutableMapping[str, Any],
    prefix: str,
    wanted: Mapping[str, Value],
) -> dict[str, object]:
    """Remove unwanted keys, and the tables that become empty; return the remaining values by
    dotted key.
    """
    present: dict[str, object] = {}
    for name in list(node):
        key, value = f"{prefix}{name}", node[name]
        if isinstance(value, MutableMapping) and key not in OWN_KEYS:
            below = _prune(value, f"{key}.", wanted)
            present.update(below)
            if not below and not _has_comment(value):
                del node[name]
        elif key in wanted:
            present[key] = _plain(value)
        else:
            del node[name]
    return present


def _has_comment(node: MutableMapping[str, Any]) -> bool:
    as_string = getattr(node, "as_string", None)
    return callable(as_string) and "#" in str(as_string())


def _is_same(key: str, present: object, value: Value, table: Mapping[str, Option]) -> bool:
    if present == _toml(value):
        return True
    option = table.get(key)
    if option is None:
        return False
    try:
        return check(option, present) == value
    except ConfigurationError:
        return False


def _set(document: TOMLDocument, key: str, value: Value) -> None:
    """Set a dotted key; creates missing tables."""
    *path, leaf = key.split(".")
    node: MutableMapping[str, Any] = document
    for index, name in enumerate(path):
        if name not in node:
            # a table that contains only tables needs no header
            node[name] = tomlkit.table(is_super_table=index < len(path) - 1)
        node = node[name]
    if isinstance(value, tuple) and leaf in node and _set_list(node[leaf], value):
        return
    if key == COPIES and isinstance(value, tuple) and value:
        # removed first: tomlkit cannot replace a list with tables
        node.pop(leaf, None)
        node[leaf] = _tables([copy_table(parse_copy(each)) for each in value])
        return
    node[leaf] = _item(value)


def _tables(tables: Sequence[Mapping[str, str | bool]]) -> Any:
    array = tomlkit.aot()
    for each in tables:
        array.append(tomlkit.item(dict(each)))
    return array


def _set_list(array: Any, value: tuple[str, ...]) -> bool:
    """Change a list in place, which preserves its comments; return whether that was possible."""
    if not isinstance(array, tomlkit.items.Array):
        return False
    for index in reversed(range(len(array))):
        if array[index] not in value:
            del array[index]
    for each in value:
        if each not in array:
            array.append(each)
    return bool(tuple(_plain(array)) == value)


def _item(value: Value) -> Any:
    item = tomlkit.item(_toml(value))
    if isinstance(value, tuple) and len(value) > LONG_LIST:
        item.multiline(True)
    return item


def _toml(value: Value) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _plain(value: Any) -> Any:
    unwrap = getattr(value, "unwrap", None)
    return unwrap() if callable(unwrap) else value


def _parses_to(text: str, wanted: Mapping[str, Value], table: Mapping[str, Option]) -> bool:
    """Return whether another parser reads exactly `wanted` from the text."""
    try:
        found = flatten(tomllib.loads(text))
    except tomllib.TOMLDecodeError:
        return False
    return found.keys() == wanted.keys() and all(
        _is_same(key, found[key], value, table) for key, value in wanted.items()
    )
