"""Parses copies of a certificate: `FORMAT:PATH[,owner=...]`, or a table in TOML.

Pure. `certctl.rules.formats` produces the contents, `certctl.deploy.copies` writes the files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from certctl.model.certificate import Material, Version
from certctl.model.errors import ConfigurationError, UsageError
from certctl.model.spec import FAMILIES, CopyFormat, CopySpec, Pkcs12Encryption

_ATTRIBUTES = ("owner", "group", "mode", "password_file", "encryption", "key", "in_place")
_ATTRIBUTE = re.compile(
    r"(.*),(?:(owner|group|mode|password[-_]file|encryption|key)=([^,]*)|(in[-_]place))\Z",
    re.DOTALL,
)
_MODE = re.compile(r"(?:0o?)?([0-7]{3})\Z")
_HINT = (
    "Give FORMAT:PATH, such as fullchain:/etc/ssl/example.pem or "
    "combined:/etc/haproxy/certificates/,group=haproxy,mode=0640; FORMAT is one of "
    f"{', '.join(CopyFormat)}."
)
READABLE = 0o444
"""Default read permissions of a copy without a private key; others are for the owner only."""


def canonical_copy(value: object) -> str:
    """Return a copy as `FORMAT:PATH[,owner=...][,group=...][,mode=...][,password_file=...]` and so
    on.

    `value` is such a string or a table with the keys `to`, `format` and so on. Raises `UsageError`
    (`usage.copy`).
    """
    if isinstance(value, Mapping):
        return format_copy(_of_table(value))
    if not isinstance(value, str):
        raise _wrong(value, "it must be a string or a table")
    return format_copy(parse_copy(value))


def parse_copy(text: str) -> CopySpec:
    """Return the copy described by `text`. Raises `UsageError` (`usage.copy`)."""
    rest, attributes = text, dict[str, str | bool]()
    while found := _ATTRIBUTE.match(rest):
        rest, key = found[1], (found[2] or found[4]).replace("-", "_")
        if key in attributes:
            raise _wrong(text, f"{key} is given twice")
        attributes[key] = True if found[4] else found[3]
    format_, colon, path = rest.partition(":")
    if not colon or not path:
        raise _wrong(text, "the format or the path is missing")
    return _of_table({"format": format_, "to": path, **attributes}, text)


def format_copy(copy: CopySpec) -> str:
    """Return a copy as a string, the inverse of `parse_copy`."""
    return f"{copy.format}:{copy.to}" + "".join(
        ",in-place" if value is True else f",{key}={value}"
        for key, value in copy_table(copy).items()
        if key in _ATTRIBUTES
    )


def copy_table(copy: CopySpec) -> dict[str, str | bool]:
    """Return a copy as a TOML table."""
    mode = None if copy.mode is None else f"{copy.mode:04o}"
    values: dict[str, str | bool | None] = {
        "to": copy.to,
        "format": copy.format.value,
        "owner": copy.owner,
        "group": copy.group,
        "mode": mode,
        "password_file": copy.password_file,
        "encryption": copy.encryption and copy.encryption.value,
        "key": copy.key,
        "in_place": copy.in_place,
    }
    return {key: value for key, value in values.items() if value}


def with_paths(text: str, absolute: Mapping[str, str]) -> str:
    """Return a copy as a string, with the paths that are keys of `absolute` replaced."""
    copy = parse_copy(text)
    password_file = copy.password_file
    if password_file is not None:
        password_file = absolute.get(password_file, password_file)
    return format_copy(
        replace(copy, to=absolute.get(copy.to, copy.to), password_file=password_file)
    )


def canonical_mode(value: object) -> str:
    """Return a file mode as four octal digits, such as 0640. Raises `UsageError`."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o777:
        return f"{value:04o}"
    found = _MODE.match(value) if isinstance(value, str) else None
    if found is None:
        raise UsageError(
            f"{value!r} is not a valid file mode",
            hint="Give three octal digits, such as 0640.",
            code="usage.mode",
        )
    return f"0{found[1]}"


def canonical_key_mode(value: object) -> str:
    """Return the file mode of a private key: for its owner, and at most readable by a group."""
    mode = canonical_mode(value)
    if int(mode, 8) & ~0o640 or not int(mode, 8) & 0o400:
        raise UsageError(
            f"mode {mode} is not allowed for a private key: only its owner and a group may read it",
            hint="Give 0600, or 0640 together with --key-group GROUP.",
            code="usage.mode",
        )
    return mode


def _of_table(values: Mapping[str, object], text: str | None = None) -> CopySpec:
    """Return the copy that a table describes. Errors show `text`, if it was given as such."""
    shown = dict(values) if text is None else text
    unknown = sorted(str(key) for key in values.keys() - {"to", "format", *_ATTRIBUTES})
    if unknown:
        raise _wrong(shown, f"unknown key {unknown[0]!r}")
    in_place = values.get("in_place", False)
    if not isinstance(in_place, bool):
        raise _wrong(shown, "in_place must be true or false")
    others = {"mode", "in_place"}
    texts = {key: value for key, value in values.items() if key not in others and value != ""}
    if not all(isinstance(each, str) and each.isprintable() for each in texts.values()):
        raise _wrong(shown, "each value must be a line of text")
    if not texts.get("to"):
        raise _wrong(shown, "the path (to) is missing")
    try:
        format_ = CopyFormat(str(texts.get("format", "")).lower())
    except ValueError:
        given = texts.get("format")
        reason = "the format is missing" if given is None else f"unknown format {given!r}"
        raise _wrong(shown, reason) from None
    if (format_ is CopyFormat.PKCS12) != ("password_file" in texts):
        raise _wrong(shown, "password_file is required for pkcs12 and not allowed otherwise")
    if format_ is not CopyFormat.PKCS12 and "encryption" in texts:
        raise _wrong(shown, "encryption is only for pkcs12")
    key = _text(texts, "key")
    if key not in {None, *FAMILIES}:
        raise _wrong(shown, f"key must be one of {', '.join(FAMILIES)}")
    mode = values.get("mode")
    number = None if mode in (None, "") else int(canonical_mode(mode), 8)
    refused = None if number is None else too_open(format_, number)
    if refused is not None:
        raise _wrong(shown, refused)
    return CopySpec(
        to=str(texts["to"]),
        format=format_,
        owner=_text(texts, "owner"),
        group=_text(texts, "group"),
        mode=number,
        password_file=_text(texts, "password_file"),
        encryption=_encryption(shown, _text(texts, "encryption")),
        in_place=in_place,
        key=key,
    )


def part_of(version: Version, material: Material, key: str | None) -> Material:
    """Return what belongs to the certificate with this kind of key, by default the first. Raises
    `ConfigurationError` if the version has none.
    """
    certificates = zip(version.certificates, material.parts, strict=True)
    found = (own for each, own in certificates if key in {None, each.family})
    if (part := next(found, None)) is not None:
        return part
    kinds = " and ".join(each.family.upper() for each in version.certificates)
    raise ConfigurationError(
        f"version {version.number} of {version.name} has no certificate with an {str(key).upper()}"
        f" key, only {kinds}",
        hint=f"To have both: certctl edit {version.name} --key-type ecdsa-p256 --key-type rsa-2048",
        name=version.name,
        code="configuration.key",
    )


def too_open(form: CopyFormat, mode: int) -> str | None:
    """Return why a copy must not have a mode: others could read its private key, or change it; None
    if it may have it. A PKCS#12 file may be read by all, since its password protects the key.
    """
    if mode & 0o002:
        return f"mode {mode:04o} would let every user change the file"
    if not form.secret:
        return None
    if mode & 0o020:
        return f"mode {mode:04o} would let a group change the file with the private key"
    if mode & 0o004 and form is not CopyFormat.PKCS12:
        return (
            f"mode {mode:04o} would let every user read the private key; use group=GROUP,mode=0640"
        )
    return None


def _encryption(shown: object, text: str | None) -> Pkcs12Encryption | None:
    try:
        return None if text is None else Pkcs12Encryption(text.lower())
    except ValueError:
        known = ", ".join(Pkcs12Encryption)
        raise _wrong(shown, f"encryption must be one of {known}") from None


def _text(values: Mapping[str, object], key: str) -> str | None:
    return None if key not in values else str(values[key])


def _wrong(value: object, reason: str) -> UsageError:
    return UsageError(f"{value!r} is not a valid copy: {reason}", hint=_HINT, code="usage.copy")
