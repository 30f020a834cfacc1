"""Which certificate a command line of certbot is about: one that exists, or a new one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import Enum

from certctl.model.errors import InvalidIdentifier, UsageError
from certctl.model.identifiers import IdentifierType
from certctl.model.lazy_dataclass import dataclass
from certctl.model.names import parse_identifier
from certctl.model.text import WORD, printable, whole_number

_CODE = "usage.certbot"


class Change(Enum):
    """What happens to the certificate's names."""

    NEW = "new"
    SAME = "same"
    MORE = "more"
    OTHER = "other"


@dataclass(frozen=True)
class Chosen:
    """A certificate, the names that it is to have, and how these differ from those that it has,
    `before`.
    """

    name: str
    names: tuple[str, ...]
    change: Change
    before: tuple[str, ...] = ()


def choose(
    names: Sequence[str],
    existing: Mapping[str, Sequence[str]],
    *,
    named: str | None = None,
    duplicate: bool = False,
) -> Chosen:
    """Return the certificate, as certbot chooses it: the one `named`; else the one with exactly
    these names; else the largest one that has a part of them, which gets the others too; else a new
    one, with a number if its name is taken.

    Raises `UsageError` if no names are known.
    """
    wanted = tuple(dict.fromkeys(names))
    if named is not None and named in existing:
        has = tuple(existing[named])
        if not wanted or set(wanted) == set(has):
            return Chosen(named, has, Change.SAME, has)
        change = Change.MORE if set(has) < set(wanted) else Change.OTHER
        return Chosen(named, wanted, change, has)
    if not wanted:
        raise UsageError("no name was given", hint="Give the names with -d example.com", code=_CODE)
    if named is not None:
        return Chosen(named, wanted, Change.NEW)
    if not duplicate:
        same = [name for name, has in existing.items() if set(has) == set(wanted)]
        if same:
            best = file_name(wanted[0])
            name = best if best in same else min(same)
            has = tuple(existing[name])
            return Chosen(name, has, Change.SAME, has)
        parts = [name for name, has in existing.items() if has and set(has) < set(wanted)]
        if parts:
            name = max(sorted(parts), key=lambda each: len(existing[each]))
            return Chosen(name, wanted, Change.MORE, tuple(existing[name]))
    return Chosen(free_name(file_name(wanted[0]), existing), wanted, Change.NEW)


def file_name(name: str) -> str:
    """Return certbot's name for a certificate whose first name this is."""
    return name.removeprefix("*.").replace(":", "-")


def free_name(name: str, taken: Collection[str]) -> str:
    """Return the name, with a number such as -0001 if it is taken."""
    found, number = name, 0
    while found in taken:
        number += 1
        found = f"{name}-{number:04d}"
    return found


def chosen_names(answer: str, offered: Sequence[str]) -> tuple[str, ...]:
    """Return the names that an answer chooses: by their numbers, counted from 1, or as they are;
    all of them if it is empty. Raises `UsageError` for a number that was not offered.
    """
    found: list[str] = []
    for each in answer.lower().replace(",", " ").split():
        number = whole_number(each)
        if number is None and not each.isdigit():
            found.append(each)
        elif number is None or not 1 <= number <= len(offered):
            raise UsageError(f"there is no name number {printable(each, WORD)}", code=_CODE)
        else:
            found.append(offered[number - 1])
    return tuple(dict.fromkeys(found)) or tuple(offered)


def is_host_name(name: str) -> bool:
    """Return whether a name of a web server's configuration can be in a certificate that is
    validated by HTTP.
    """
    try:
        found = parse_identifier(name)
    except InvalidIdentifier:
        return False
    return not found.wildcard and "." in name and found.type is IdentifierType.DNS
