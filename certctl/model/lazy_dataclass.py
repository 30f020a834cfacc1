"""`dataclass` as in the standard library, except that a frozen class gets its methods when its
first object is made.

The standard decorator compiles six methods for each class. A command imports more than a hundred
classes and makes objects of about half of them, so that a quarter of the processor time of a whole
issuance went into compiling methods, most of which are never called. Here only `__init__` is
compiled, only for classes that are used, and once for all with as many fields; the other methods
are the same functions for all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError, fields
from dataclasses import dataclass as standard_dataclass
from functools import cache
from operator import attrgetter
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

_FIELDS = "__dataclass_fields__"

_completing = threading.RLock()
"""Two threads may make the first object of a class at the same time."""

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, **options):
        """As `dataclasses.dataclass`. Only a class that is frozen and has no other options is
        completed late.
        """
        if cls is None:
            return lambda decorated: dataclass(decorated, frozen=frozen, **options)
        if not frozen or options:
            return standard_dataclass(frozen=frozen, **options)(cls)
        return _completed_later(cls)


class _LateFields:
    """In place of a class's fields, until somebody asks for them or makes an object."""

    def __init__(self, complete: Callable[[], None]) -> None:
        self._complete = complete

    def __get__(self, instance: object, owner: type) -> Mapping[str, Field[Any]]:
        self._complete()
        found: Mapping[str, Field[Any]] = getattr(owner, _FIELDS)
        return found


def _completed_later(cls: type) -> type:
    def complete() -> None:
        with _completing:
            if vars(cls)["__init__"] is first:
                _complete(cls)

    def first(self: object, *values: object, **named: object) -> None:
        complete()
        cls.__init__(self, *values, **named)  # type: ignore[misc]  # of this class, not a subclass

    cls.__init__ = first  # type: ignore[misc]
    setattr(cls, _FIELDS, _LateFields(complete))
    return cls


def _complete(cls: Any) -> None:
    """Give a class its fields and methods; `__init__` comes last, as other threads wait for it."""
    # Without methods, this compiles nothing. It also checks the fields and their defaults.
    standard_dataclass(init=False, repr=False, eq=False)(cls)
    found = fields(cls)
    hashed = [each for each in found if (each.compare if each.hash is None else each.hash)]
    methods: Mapping[str, object] = {
        "__eq__": _equality(_values([each for each in found if each.compare])),
        "__hash__": _hash(_values(hashed)),
        "__repr__": _representation(tuple(each.name for each in found if each.repr)),
    }
    own = vars(cls)
    for name, method in methods.items():
        if own.get(name) is None:  # a class with its own `__eq__` has None as `__hash__`
            setattr(cls, name, method)
    cls.__setattr__ = _refuse_to_set
    cls.__delattr__ = _refuse_to_delete
    cls.__init__ = _initializer(cls, found)


def _values(found: Sequence[Field[Any]]) -> Callable[[object], object]:
    """Return the function that gets the values of these fields, as one value to compare."""
    return attrgetter(*(each.name for each in found)) if found else _nothing


def _nothing(_self: object) -> tuple[()]:
    return ()


def _equality(compared: Callable[[object], object]) -> Callable[[object, object], bool]:
    def __eq__(self: object, other: object) -> bool:  # noqa: N807
        if other.__class__ is not self.__class__:
            return NotImplemented
        return compared(self) == compared(other)

    return __eq__


def _hash(hashed: Callable[[object], object]) -> Callable[[object], int]:
    def __hash__(self: object) -> int:  # noqa: N807
        return hash(hashed(self))

    return __hash__


def _representation(names: tuple[str, ...]) -> Callable[[object], str]:
    """Return `__repr__` of a class that shows these fields."""

    def __repr__(self: object) -> str:  # noqa: N807
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({values})"

    return __repr__


def _refuse_to_set(_self: object, name: str, _value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_self: object, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _initializer(cls: type, found: tuple[Field[Any], ...]) -> Callable[..., None]:
    """Return the `__init__` of a class with these fields, made from that of another class with as
    many: only names and defaults differ.

    `object.__setattr__` sets the fields, since the class's own refuses to.
    """
    names: dict[str, object] = {"_set": object.__setattr__, "_made": MISSING}
    defaults: list[object] = []
    made: list[int] = []
    for place, field in enumerate(found):
        if not field.init or field.kw_only:
            raise TypeError(f"{cls.__qualname__}.{field.name}: fields must be given by position")
        if field.default_factory is not MISSING:
            names[f"_make{place}"] = field.default_factory
            made.append(place)
            defaults.append(MISSING)
        elif field.default is not MISSING:
            defaults.append(field.default)
    code = _compiled(len(found), tuple(made), checked=hasattr(cls, "__post_init__"))
    given = {f"_field{place}": field.name for place, field in enumerate(found)}
    code = code.replace(
        co_varnames=tuple(given.get(each, each) for each in code.co_varnames),
        co_consts=tuple(given.get(each, each) for each in code.co_consts),
    )
    method: Any = FunctionType(code, names, "__init__", tuple(defaults))
    method.__qualname__ = f"{cls.__qualname__}.__init__"
    method.__module__ = cls.__module__
    return method  # type: ignore[no-any-return]


@cache
def _compiled(count: int, made: tuple[int, ...], *, checked: bool) -> CodeType:
    """Return the code of an `__init__` with `count` fields, `_field0` and so on. Those at the
    places in `made` are made by a function unless they are given; `checked`: there is a
    `__post_init__`. Few classes differ in this, so that little is compiled.
    """
    fields = [f"_field{place}" for place in range(count)]
    lines = [f"def __init__({', '.join(['self', *fields])}):"]
    for place, name in enumerate(fields):
        value = f"_make{place}() if {name} is _made else {name}" if place in made else name
        lines.append(f" _set(self, {name!r}, {value})")
    lines.append(" self.__post_init__()" if checked else " pass")
    module = compile("\n".join(lines), "<fields>", "exec")
    return next(each for each in module.co_consts if isinstance(each, CodeType))
