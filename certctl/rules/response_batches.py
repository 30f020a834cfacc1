"""How many challenge responses may be at one place at a time. Pure.

A certificate for dozens of names whose `_acme-challenge` records are all delegated to one name (by
CNAME) would put as many TXT values there. Some resolvers, and some CAs' validation, get an answer
only if it fits into one datagram, and servers limit the values of a name (BIND: 100).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from certctl.model.validation import Placement

MAX_VALUES = 7
"""TXT values at one name, of one certificate: with the question and an alias, seven of 56 octets
fit into the 512 octets of a datagram that every resolver takes (RFC 1035 §4.2.1).
"""

_Item = TypeVar("_Item")


def in_batches(
    items: Sequence[_Item], place: Callable[[_Item], Hashable | None], most: int = MAX_VALUES
) -> list[list[_Item]]:
    """Return items in batches with at most `most` of them at the same place, in their order; None
    is no place that they share. There are as few batches as the fullest place needs.
    """
    seen: Counter[Hashable] = Counter()
    batches: list[list[_Item]] = [[]]
    for item in items:
        where = place(item)
        number = 0
        if where is not None:
            number = seen[where] // most
            seen[where] += 1
        while len(batches) <= number:
            batches.append([])
        batches[number].append(item)
    return batches


def record_of(placement: Placement) -> str | None:
    """Return the name of the DNS record that a placement adds a value to; None for another kind."""
    return placement.data.get("name") if "zone" in placement.data else None
