"""The text of a new `certificates/NAME.toml`.

It is written without tomlkit, whose import takes longer than the requests of an order; an existing
spec is edited by `certctl.store.home.spec_text`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from certctl.model.values import Value
from certctl.rules.copies import copy_table, parse_copy

COPIES = "deploy.copy"
"""The one setting that is written as tables; a list of strings is accepted too."""

LONG_LIST = 3
"""A list with more values has one on each line."""

_HEADING = (
    "The specification of this certificate. After editing it, run `certctl renew`.",
    "Settings that are missing here come from certctl.toml or have their default.",
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")


def new_text(wanted: Mapping[str, Value]) -> str:
    """Return the text of a new spec with these values by dotted key."""
    tables: dict[str, list[str]] = {"": []}
    for key, value in wanted.items():
        table, _, name = key.rpartition(".")
        if key == COPIES and isinstance(value, tuple) and value:
            tables.setdefault(table, [])
            tables[f"[{key}]"] = _copies(value, key)
        else:
            tables.setdefault(table, []).append(f"{_key(name)} = {written(value)}")
    parts = ["\n".join(f"# {line}" for line in _HEADING), "\n".join(tables.pop(""))]
    # A table of a table comes after it, and the tables of a list after what they are in.
    for name, lines in sorted(tables.items(), key=lambda each: each[0].strip("[]").split(".")):
        if name.startswith("["):
            parts += lines
        elif lines:
            parts.append("\n".join([f"[{'.'.join(map(_key, name.split('.')))}]", *lines]))
    return "\n\n".join(each for each in parts if each) + "\n"


def written(value: Value) -> str:
    """Return a value as TOML."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            # TOML's escapes are those of JSON, which leaves DEL as it is.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case tuple():
            return _list([written(each) for each in value])
        case float() if value.is_integer():
            return str(int(value))
    return str(value)


def _list(items: Sequence[str]) -> str:
    if len(items) <= LONG_LIST:
        return f"[{', '.join(items)}]"
    return "".join(["[\n", *(f"    {each},\n" for each in items), "]"])


def _copies(copies: Sequence[str], key: str) -> list[str]:
    """Return the text of a table for each copy."""
    tables = (copy_table(parse_copy(each)) for each in copies)
    return [
        "\n".join(
            [f"[[{key}]]", *(f"{_key(name)} = {written(each)}" for name, each in table.items())]
        )
        for table in tables
    ]


def _key(name: str) -> str:
    return name if _BARE_KEY.match(name) else json.dumps(name, ensure_ascii=False)
