"""Values of the nouns in which every field is set to something else than its default."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import count
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

_Noun = TypeVar("_Noun")

PAST = datetime(2025, 6, 1, tzinfo=UTC)


def filled(kind: type[_Noun], **given: object) -> _Noun:
    """A value of a dataclass; its texts, numbers and times (all after `PAST`) are all different."""
    found: _Noun = _value(kind, count(1), given)
    return found


def defaults_in(value: object) -> list[str]:
    """The fields of a value, and of those in it, that have their default."""
    found = []
    for each in fields(value):  # type: ignore[arg-type]
        inner = getattr(value, each.name)
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        if inner == default:
            found.append(f"{type(value).__name__}.{each.name}")
        for one in inner if isinstance(inner, tuple) else (inner,):
            found += defaults_in(one) if is_dataclass(one) else []
    return found


def _value(hint: Any, number: "count[int]", given: Mapping[str, object]) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {UnionType, Union}:
        return _value(next(each for each in arguments if each is not NoneType), number, {})
    if origin is tuple:
        return (_value(arguments[0], number, {}), _value(arguments[0], number, {}))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {f"key {next(number)}": _value(arguments[1], number, {})}
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return list(hint)[-1]
    if is_dataclass(hint):
        return _object(hint, number, given)
    return _SCALARS[hint](next(number))


def _object(kind: Any, number: "count[int]", given: Mapping[str, object]) -> Any:
    hints = get_type_hints(kind)
    values = {
        each.name: (not each.default)
        if hints[each.name] is bool
        else _value(hints[each.name], number, {})
        for each in fields(kind)
        if each.name not in given
    }
    return kind(**values, **given)


_SCALARS: Mapping[object, Callable[[int], object]] = {
    str: lambda number: f"text {number}",
    int: lambda number: number,
    float: lambda number: number + 0.5,
    bytes: lambda number: b"\x00bytes %d\xff" % number,
    datetime: lambda number: PAST + timedelta(hours=number),
}
