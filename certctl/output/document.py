"""The JSON that a command prints: one document, for success and failure alike.

Its shape is a promise (`schema` 1): `{"schema", "command", "status", "exit_code", "data",
"errors"}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from certctl.errors import CertctlError, ExitStatus, PluginStatus, ValidationFailed

SCHEMA = 1

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


@dataclass(frozen=True)
class Result:
    """What a command came to: `data` for programs, `lines` for people, both always filled.

    `silent`: the errors are said in the lines already.
    """

    data: Mapping[str, Json] = field(default_factory=dict)
    lines: Sequence[object] = ()
    errors: Sequence[CertctlError] = ()
    exit_status: ExitStatus | PluginStatus = ExitStatus.DONE
    silent: bool = False


def render(command: str, result: Result, *, indented: bool = False, kind: str | None = None) -> str:
    """Return the document for a result, ending in a newline; on one line unless a person reads it,
    since indenting thousands of rows takes longer than all else. `kind` stands first where lines of
    other kinds came before.
    """
    document: dict[str, Json] = {
        **({} if kind is None else {"kind": kind}),
        "schema": SCHEMA,
        "command": command,
        "status": _status(result.exit_status),
        "exit_code": int(result.exit_status),
        "data": result.data,
        "errors": [error_object(error) for error in result.errors],
    }
    return json.dumps(document, indent=2 if indented else None, ensure_ascii=False) + "\n"


def error_object(error: CertctlError) -> dict[str, Json]:
    """Return an error as the document holds it; `identifiers` has the CA's words for each name."""
    found: dict[str, Json] = {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "name": error.name,
    }
    if isinstance(error, ValidationFailed) and error.reasons:
        found["identifiers"] = [
            {"identifier": identifier, "reason": reason} for identifier, reason in error.reasons
        ]
    return found


def _status(exit_status: ExitStatus | PluginStatus) -> str:
    if exit_status == 0:
        return "success"
    return "partial" if exit_status is ExitStatus.PARTIAL else "error"
