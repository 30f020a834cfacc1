"""Versions that are added and removed while a certificate is held; the others are not read."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from certctl.model.certificate import Version
from certctl.store.changed_versions import ChangedVersions
from tests.unit.store_samples import issued


def version(number: int) -> Version:
    return replace(issued(mark="1"), number=number)


class Archive(Mapping[int, Version]):
    """Versions that are read when they are asked for."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers
        self.read: list[int] = []

    def __getitem__(self, number: int) -> Version:
        if number not in self.numbers:
            raise KeyError(number)
        self.read.append(number)
        return version(number)

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)


def test_versions_are_added_and_removed_without_reading_the_others() -> None:
    archive = Archive(1, 2, 3)

    added = ChangedVersions(archive, added=[version(4)])
    pruned = ChangedVersions(added, removed=[1])

    assert archive.read == []
    assert pruned[4] == version(4)
    assert archive.read == []
    assert pruned[3] == version(3)
    assert archive.read == [3]


def test_the_versions_are_those_that_are_left_oldest_first() -> None:
    changed = ChangedVersions(Archive(1, 2, 3), added=[version(4)])
    changed = ChangedVersions(changed, added=[version(5)], removed=[1, 4])

    assert dict(changed) == {number: version(number) for number in (2, 3, 5)}
    assert len(changed) == 3


@pytest.mark.parametrize("number", [1, 4, 9])
def test_a_version_that_is_not_there_is_missing(number: int) -> None:
    changed = ChangedVersions(Archive(1, 2), added=[version(4)])
    changed = ChangedVersions(changed, removed=[1, 4])

    assert changed.get(number) is None
    assert number not in changed


def test_many_changes_do_not_nest() -> None:
    changed: Mapping[int, Version] = Archive(1)
    for number in range(2, 500):
        changed = ChangedVersions(changed, removed=[number - 1], added=[version(number)])

    assert list(changed) == [499]
    assert changed[499] == version(499)
