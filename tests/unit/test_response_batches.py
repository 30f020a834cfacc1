"""Challenge responses at one place come in batches that a server and a resolver take."""

import pytest

from certctl.model.validation import Placement
from certctl.rules.response_batches import in_batches, record_of


@pytest.mark.parametrize(
    ("places", "sizes"),
    [
        ("", [0]),
        ("a", [1]),
        ("abcdefgh", [8]),
        ("aaaa", [3, 1]),
        ("aaaaaaa", [3, 3, 1]),
        ("aabbaabb", [6, 2]),
        ("aaaabcde", [7, 1]),
    ],
)
def test_there_are_as_few_batches_as_the_fullest_place_needs(places: str, sizes: list[int]) -> None:
    batches = in_batches(places, lambda each: each, most=3)

    assert [len(each) for each in batches] == sizes
    assert sorted("".join(map("".join, batches))) == sorted(places)
    assert all(batch.count(each) <= 3 for batch in batches for each in batch)


def test_responses_that_share_no_place_are_one_batch() -> None:
    assert in_batches("aaaaaaaa", lambda _: None, most=3) == [list("aaaaaaaa")]


@pytest.mark.parametrize(
    ("data", "record"),
    [
        ({"name": "all.acme.test", "zone": "acme.test", "value": "x"}, "all.acme.test"),
        ({"root": "/srv", "folder": ".well-known"}, None),
        ({"token": "x"}, None),
    ],
)
def test_only_records_of_the_dns_share_a_place(data: dict[str, str], record: str | None) -> None:
    assert record_of(Placement("dns-01", "a.example", "a.example", data)) == record
