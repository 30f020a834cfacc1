"""Copies of a certificate, as people ask for them: `FORMAT:PATH[,owner=...]`, or a table in TOML.

Pure: what a format means is `certctl.formats`, writing is `certctl.deploy.copies`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from certctl.errors import UsageError
from certctl.models import CopyFormat, CopySpec

_ATTRIBUTES = ("owner", "group", "mode", "password_file")
_ATTRIBUTE = re.compile(r"(.*),(owner|group|mode|password[-_]file)=([^,]*)\Z", re.DOTALL)
_MODE = re.compile(r"(?:0o?)?([0-7]{3})\Z")
_HINT = (
    "Give FORMAT:PATH, such as fullchain:/etc/ssl/example.pem or "
    "combined:/etc/haproxy/certificates/,group=haproxy,mode=0640; FORMAT is one of "
    f"{', '.join(CopyFormat)}."
)
READABLE = 0o444
"""What a copy without a key allows by default; others are their owner's alone."""


def canonical_copy(value: object) -> str:
    """Return a copy as `FORMAT:PATH[,owner=...][,group=...][,mode=...][,password_file=...]`, from
    such a text or from a table with `to`, `format` and the rest.

    Raises `UsageError` (`usage.copy`).
    """
    if isinstance(value, Mapping):
        return format_copy(_of_table(value))
    if not isinstance(value, str):
        raise _wrong(value, "it is neither a text nor a table")
    return format_copy(parse_copy(value))


def parse_copy(text: str) -> CopySpec:
    """Return the copy that `text` asks for. Raises `UsageError` (`usage.copy`)."""
    rest, attributes = text, dict[str, str]()
    while found := _ATTRIBUTE.match(rest):
        rest, key = found[1], found[2].replace("-", "_")
        if key in attributes:
            raise _wrong(text, f"{key} is said twice")
        attributes[key] = found[3]
    format_, colon, path = rest.partition(":")
    if not colon or not path:
        raise _wrong(text, "it has no format and path")
    return _of_table({"format": format_, "to": path, **attributes})


def format_copy(copy: CopySpec) -> str:
    """Return a copy as a text, so that `parse_copy` gives it back."""
    return f"{copy.format}:{copy.to}" + "".join(
        f",{key}={value}" for key, value in copy_table(copy).items() if key in _ATTRIBUTES
    )


def copy_table(copy: CopySpec) -> dict[str, str]:
    """Return a copy as a table of TOML."""
    mode = None if copy.mode is None else f"{copy.mode:04o}"
    values = {
        "to": copy.to,
        "format": copy.format.value,
        "owner": copy.owner,
        "group": copy.group,
        "mode": mode,
        "password_file": copy.password_file,
    }
    return {key: value for key, value in values.items() if value}


def with_paths(text: str, absolute: Mapping[str, str]) -> str:
    """Return the text of a copy with its paths replaced, as far as `absolute` has others."""
    copy = parse_copy(text)
    password_file = copy.password_file
    if password_file is not None:
        password_file = absolute.get(password_file, password_file)
    return format_copy(
        replace(copy, to=absolute.get(copy.to, copy.to), password_file=password_file)
    )


def canonical_mode(value: object) -> str:
    """Return permissions as four octal digits, such as 0640. Raises `UsageError`."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o777:
        return f"{value:04o}"
    found = _MODE.match(value) if isinstance(value, str) else None
    if found is None:
        raise UsageError(
            f"{value!r} is no mode",
            hint="Give three octal digits, such as 0640.",
            code="usage.mode",
        )
    return f"0{found[1]}"


def canonical_key_mode(value: object) -> str:
    """Return permissions of a private key: its owner's, and reading for a group at most."""
    mode = canonical_mode(value)
    if int(mode, 8) & ~0o640 or not int(mode, 8) & 0o400:
        raise UsageError(
            f"{mode} is no mode for a private key: its owner and a group at most read it",
            hint="Give 0600 or 0640, with --key-group GROUP for who is to read it.",
            code="usage.mode",
        )
    return mode


def _of_table(values: Mapping[str, object]) -> CopySpec:
    unknown = sorted(str(key) for key in values.keys() - {"to", "format", *_ATTRIBUTES})
    if unknown:
        raise _wrong(dict(values), f"there is no {unknown[0]!r}")
    texts = {key: value for key, value in values.items() if key != "mode" and value != ""}
    if not all(isinstance(each, str) and each.isprintable() for each in texts.values()):
        raise _wrong(dict(values), "its values are no lines of text")
    if not texts.get("to"):
        raise _wrong(dict(values), "it does not say where to")
    try:
        format_ = CopyFormat(str(texts.get("format", "")).lower())
    except ValueError:
        raise _wrong(dict(values), f"{texts.get('format')!r} is no format") from None
    if (format_ is CopyFormat.PKCS12) != ("password_file" in texts):
        raise _wrong(dict(values), "a password_file belongs to pkcs12, and only to that")
    mode = values.get("mode")
    return CopySpec(
        to=str(texts["to"]),
        format=format_,
        owner=_text(texts, "owner"),
        group=_text(texts, "group"),
        mode=None if mode in (None, "") else int(canonical_mode(mode), 8),
        password_file=_text(texts, "password_file"),
    )


def _text(values: Mapping[str, object], key: str) -> str | None:
    return None if key not in values else str(values[key])


def _wrong(value: object, reason: str) -> UsageError:
    return UsageError(f"{value!r} is no copy: {reason}", hint=_HINT, code="usage.copy")
