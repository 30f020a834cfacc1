"""The versions of a certificate after some were added or removed: the others are read when they are
asked for, as they were before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from certctl.model.certificate import Version


class ChangedVersions(Mapping[int, Version]):
    """The versions in `before`, with `added` and without `removed`, in the order of their numbers
    if the added ones are newer.
    """

    def __init__(
        self,
        before: Mapping[int, Version],
        *,
        added: Collection[Version] = (),
        removed: Collection[int] = (),
    ) -> None:
        self._before = before
        self._added: dict[int, Version] = {}
        self._removed: frozenset[int] = frozenset(removed)
        if isinstance(before, ChangedVersions):  # no chain of changes
            self._before = before._before
            self._added |= before._added
            self._removed |= before._removed
        self._added |= {each.number: each for each in added}

    def __getitem__(self, number: int) -> Version:
        if number in self._removed:
            raise KeyError(number)
        found = self._added.get(number)
        return self._before[number] if found is None else found

    def __iter__(self) -> Iterator[int]:
        for number in self._before:
            if number not in self._removed and number not in self._added:
                yield number
        yield from (number for number in self._added if number not in self._removed)

    def __len__(self) -> int:
        return sum(1 for _ in self)
