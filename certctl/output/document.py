"""The JSON document that a command prints, for success and failure alike.

Its format is stable (`schema` 1): `{"schema", "command", "status", "exit_code", "data", "errors"}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import field

from certctl.model.errors import CertctlError, ExitStatus, PluginStatus, ValidationFailed
from certctl.model.lazy_dataclass import dataclass
from certctl.model.text import safe_json

SCHEMA = 1

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


@dataclass(frozen=True)
class Result:
    """The result of a command: `data` for JSON, `lines` for text output; both are filled, except
    where there can be thousands of rows.

    `silent`: the lines already contain the errors. `printed_before` are errors that are not printed
    as text again. `one_line`: each error is printed on one line, as cron and journals expect.
    """

    data: Mapping[str, Json] = field(default_factory=dict)
    lines: Sequence[object] = ()
    errors: Sequence[CertctlError] = ()
    exit_status: ExitStatus | PluginStatus = ExitStatus.DONE
    silent: bool = False
    printed_before: Sequence[CertctlError] = ()
    one_line: bool = False


def render(command: str, result: Result, *, indented: bool = False, kind: str | None = None) -> str:
    """Return the document for a result, ending in a newline. It is on one line unless `indented`,
    since indenting thousands of rows is slow. `kind` becomes its first key, for --json-lines.
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
    text = json.dumps(document, indent=2 if indented else None, ensure_ascii=False)
    return f"{safe_json(text)}\n"


def error_object(error: CertctlError) -> dict[str, Json]:
    """Return an error as JSON; `identifiers` has the CA's reason for each name."""
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
    if exit_status == 0 or exit_status is ExitStatus.SOMETHING_TO_DO:
        return "success"
    return "partial" if exit_status is ExitStatus.PARTIAL else "error"
