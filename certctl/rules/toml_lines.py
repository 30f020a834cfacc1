"""Finds the line of a key in a TOML text, for messages; `tomllib` does not tell lines."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence

_MOST_ATTEMPTS = 400
"""Parses of a part of the text, after which the line stays unknown."""


def line_of(text: str, path: Sequence[str]) -> int | None:
    """Return the number of the line on which a valid text first mentions the key at this path;
    None if it does not, or if that takes too long to find out.

    The text up to some line either has the key or not, and once it has, it keeps it: the line is
    found by halves. Where a value has several lines, a part of the text may be invalid.
    """
    lines = text.split("\n")
    attempts = 0

    def has(number: int) -> bool | None:
        """Return whether the first lines have the key; None if they are not valid by themselves."""
        nonlocal attempts
        attempts += 1
        try:
            return _contains(tomllib.loads("\n".join(lines[:number])), path)
        except (tomllib.TOMLDecodeError, RecursionError):
            return None

    without, within = 0, len(lines)
    if not has(within):
        return None
    while within - without > 1 and attempts < _MOST_ATTEMPTS:
        middle = (without + within) // 2
        numbers = [*range(middle, without, -1), *range(middle + 1, within)]
        number, found = next(
            ((each, answer) for each in numbers if (answer := has(each)) is not None),
            (within, None),
        )
        if found is None:  # all of them are in the middle of one value
            break
        without, within = (without, number) if found else (number, within)
    return None if attempts >= _MOST_ATTEMPTS else without + 1


def _contains(document: object, path: Sequence[str]) -> bool:
    for key in path:
        if not isinstance(document, Mapping) or key not in document:
            return False
        document = document[key]
    return True
