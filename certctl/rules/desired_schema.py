"""The JSON Schema of a desired state, derived from the table of settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from certctl.rules.desired_state import (
    CERTIFICATE,
    CSR,
    DEFAULTS,
    EXTENDS,
    FORMAT,
    GROUP,
    NAMES,
    OWNER,
    VERSION,
)
from certctl.rules.option import Kind, Option

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DURATION = r"^\s*\d+(\.\d+)?\s*[smhd]?\s*$"
_Schema = dict[str, Any]


def schema(options: Iterable[Option]) -> _Schema:
    """Return the schema of a document that describes a desired state with these settings.

    What a schema cannot say, such as that a group exists or a name is valid, is checked when the
    document is read.
    """
    options = [each for each in options if each.in_spec and each.key != CSR]
    extends = {"description": "The group that it is like.", "type": "string", "minLength": 1}
    own: _Schema = {
        NAMES: {
            "description": "DNS names and addresses; by default the name of the table.",
            "type": ["array", "string"],
            "items": {"type": "string"},
            "minItems": 1,
        },
        EXTENDS: extends,
        CSR: {"description": "Path of a certificate signing request.", "type": "string"},
    }
    tables = {
        name: _tables({"$ref": f"#/$defs/{name}"}, doc)
        for name, doc in (
            (GROUP, "Settings that certificates and other groups share, by the group's name."),
            (CERTIFICATE, "Certificates, by their names."),
        )
    }
    return {
        "$schema": DIALECT,
        "title": "Desired state of certctl",
        "type": "object",
        "properties": {
            VERSION: {"description": "Version of the format.", "const": FORMAT},
            OWNER: {
                "description": "Owner of these certificates, required for --prune.",
                "type": "string",
                "minLength": 1,
            },
            DEFAULTS: {"$ref": "#/$defs/settings"},
            **tables,
        },
        "required": [CERTIFICATE],
        "additionalProperties": False,
        "$defs": {
            "settings": _settings(options, {}),
            GROUP: _settings(options, {EXTENDS: extends}),
            CERTIFICATE: _settings(options, own),
        },
    }


def _tables(table: _Schema, doc: str) -> _Schema:
    found: _Schema = {"description": doc, "type": "object", "additionalProperties": table}
    return {**found, "minProperties": 1} if table["$ref"].endswith(CERTIFICATE) else found


def _settings(options: Iterable[Option], own: Mapping[str, Any]) -> _Schema:
    """Return the schema of a table with these settings, each in the tables of its dotted key."""
    top: _Schema = {"type": "object", "properties": dict(own), "additionalProperties": False}
    for option in options:
        *path, leaf = option.key.split(".")
        node = top
        for name in path:
            node = node["properties"].setdefault(
                name, {"type": "object", "properties": {}, "additionalProperties": False}
            )
        node["properties"][leaf] = _setting(option)
    return top


def _setting(option: Option) -> _Schema:
    """Return the schema of a setting's value."""
    bounds = {"minimum": option.minimum, "maximum": option.maximum}
    anything = option.canonical is not None
    kinds: Mapping[Kind, _Schema] = {
        Kind.BOOLEAN: {"type": "boolean"},
        Kind.INTEGER: {"type": "integer", **bounds},
        Kind.SECONDS: {"type": ["number", "string"], "pattern": _DURATION, **bounds},
        Kind.CHOICE: {"enum": list(option.choices)},
        Kind.TEXTS: {
            "type": ["array", "string"],
            "items": {"type": ["string", "object"] if anything else "string"},
        },
    }
    text = {"type": ["string", "integer"] if anything else "string"}
    kind = kinds.get(option.kind, text)
    if option.several:
        kind = {"anyOf": [kind, {"type": "array", "items": kind, "minItems": 1}]}
    found: _Schema = {"description": option.doc, **kind}
    if option.default is not None and option.default != ():
        found["default"] = option.default
    return found
