"""Converts frozen dataclasses to JSON objects and back, by the types of their fields.

What is stored is what a dataclass has: a field that is added to it is written and read without any
change here. The key of a field is its name. A field that is missing in an object has its default;
unknown keys are ignored, so that a format can be extended.

Supported are strings, numbers, booleans, times, bytes (base64), words (`StrEnum`), nested
dataclasses, tuples of any length, mappings with strings as keys, optional values and unions of
these, and `object` for JSON as it is.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from certctl.model.errors import StoreCorrupt
from certctl.model.lazy_dataclass import dataclass

Json = Mapping[str, object]

_Noun = TypeVar("_Noun")


def to_json(noun: object, *, without: Collection[str] = ()) -> dict[str, object]:
    """Return a dataclass as a JSON object, without some of its own fields."""
    kind: Any = type(noun)
    names = _names(kind)
    return {each: _plain(getattr(noun, each)) for each in names if each not in without}


def from_json(kind: type[_Noun], values: object, where: str, **given: object) -> _Noun:
    """Return the dataclass that a JSON object describes; the fields in `given` are not read.

    Raises `StoreCorrupt` with `where` and the field in it.
    """
    if not isinstance(values, dict):
        raise corrupt(where, "it is not a JSON object")
    return _from_object(kind, values, where, given)


def timestamp(value: datetime) -> str:
    """Return a time as it is written in documents: RFC 3339 in UTC, with `Z`."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def corrupt(where: str, problem: str) -> StoreCorrupt:
    """Return the error for a file that does not have the expected format."""
    return StoreCorrupt(
        f"{where} is not valid: {problem}",
        hint="Restore the file from a backup. If there is none, delete it.",
    )


# Writing


def _plain(value: Any) -> object:
    if value is None or type(value) in {str, int, float, bool}:
        return value
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, datetime):
        return timestamp(value)
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return to_json(value)


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind))


# Reading


_Where = tuple["str | _Where", str]
"""Where a value is: an object, and its key there. It is written out only in errors."""

_Read = Callable[[Any, _Where], object]


@dataclass(frozen=True)
class _Type:
    """How values of a type are read: `read` raises `_Unreadable`, or `StoreCorrupt` for something
    inside the value. The words are for one value and for a list of them.
    """

    read: _Read
    one: str
    many: str


class _Unreadable(Exception):
    """A value does not have the type of its field."""


@cache
def _fields(kind: Any) -> tuple[tuple[str, _Read, str, bool], ...]:
    """Return the fields of a dataclass: name, how it is read, what it must be, and whether it must
    be there.
    """
    hints = get_type_hints(kind)
    found: list[tuple[str, _Read, str, bool]] = []
    for each in fields(kind):
        known = _type(hints[each.name])
        required = each.default is MISSING and each.default_factory is MISSING
        found.append((each.name, known.read, known.one, required))
    return tuple(found)


def _from_object(
    kind: type[_Noun],
    values: Mapping[str, object],
    where: str | _Where,
    given: Mapping[str, object],
) -> _Noun:
    found = dict(given)
    hashable: Any = kind
    for name, read, one, required in _fields(hashable):
        if name in given or (name not in values and not required):
            continue
        try:
            found[name] = read(values.get(name), (where, name))
        except _Unreadable:
            raise corrupt(_text(where), f"{name} must be {one}") from None
    return kind(**found)


def _text(where: str | _Where) -> str:
    return where if isinstance(where, str) else f"{_text(where[0])}: {where[1]}"


@cache
def _type(hint: Any) -> _Type:
    known = _SCALARS.get(hint)
    if known is not None:
        return known
    if hint is object:
        return _Type(lambda value, _where: value, "a value", "values")
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {UnionType, Union}:
        return _union(tuple(_type(each) for each in arguments if each is not NoneType))
    if origin is tuple and arguments[1:] == (...,):
        return _list(_type(arguments[0]))
    if isinstance(origin, type) and issubclass(origin, Mapping) and arguments[0] is str:
        return _mapping(_type(arguments[1]))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _words(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return _object(hint)
    raise TypeError(f"a value of type {hint} cannot be stored")


def _scalar(kind: type, one: str, many: str) -> _Type:
    def read(value: Any, _where: _Where) -> object:
        if type(value) is not kind:
            raise _Unreadable
        return value

    return _Type(read, one, many)


def _read_number(value: Any, _where: _Where) -> float:
    if type(value) not in {int, float}:
        raise _Unreadable
    return float(value)


def _read_time(value: Any, _where: _Where) -> datetime:
    try:
        found = datetime.fromisoformat(value)
        if found.tzinfo is None:
            raise _Unreadable
        return found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):  # the offset can lead out of the calendar
        raise _Unreadable from None


def _read_bytes(value: Any, _where: _Where) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError):
        raise _Unreadable from None


_SCALARS: Mapping[object, _Type] = {
    str: _scalar(str, "a string", "strings"),
    int: _scalar(int, "an integer", "integers"),
    bool: _scalar(bool, "true or false", "booleans"),
    float: _Type(_read_number, "a number", "numbers"),
    datetime: _Type(_read_time, "a time with an offset from UTC", "times"),
    bytes: _Type(_read_bytes, "base64", "base64 strings"),
}


def _words(kind: type[StrEnum]) -> _Type:
    words = {each.value: each for each in kind}

    def read(value: Any, _where: _Where) -> object:
        if not isinstance(value, str) or value not in words:
            raise _Unreadable
        return words[value]

    listed = ", ".join(words)
    return _Type(read, f"one of {listed}", f"words out of {listed}")


def _union(types: tuple[_Type, ...]) -> _Type:
    """Return the type of a value that can also be null. An integer is tried before a number."""
    if len(types) == 1:
        return _optional(types[0])

    def read(value: Any, where: _Where) -> object:
        if value is None:
            return None
        for each in types:
            try:
                return each.read(value, where)
            except _Unreadable:
                continue
        raise _Unreadable

    return _Type(
        read,
        " or ".join(each.one for each in types),
        " or ".join(each.many for each in types),
    )


def _optional(known: _Type) -> _Type:
    read_it = known.read

    def read(value: Any, where: _Where) -> object:
        return None if value is None else read_it(value, where)

    return _Type(read, known.one, known.many)


def _list(element: _Type) -> _Type:
    read_one = element.read

    def read(value: Any, where: _Where) -> object:
        if not isinstance(value, list):
            raise _Unreadable
        return tuple([read_one(each, where) for each in value])

    return _Type(read, f"a list of {element.many}", f"lists of {element.many}")


def _mapping(element: _Type) -> _Type:
    def read(value: Any, where: _Where) -> object:
        if not isinstance(value, dict):
            raise _Unreadable
        found: dict[str, object] = {}
        for key, each in value.items():
            try:
                found[key] = element.read(each, (where, key))
            except _Unreadable:
                raise corrupt(_text(where), f"{key} must be {element.one}") from None
        return found

    return _Type(read, "an object", "objects")


def _object(kind: type) -> _Type:
    def read(value: Any, where: _Where) -> object:
        if not isinstance(value, dict):
            raise _Unreadable
        return _from_object(kind, value, where, {})

    return _Type(read, "an object", "objects")
