"""Thresholds: what people write, and what it means for a lifetime."""

from datetime import timedelta

import pytest

from certctl.model.errors import UsageError
from certctl.rules.thresholds import parse_threshold

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("1/3", 30 * DAY),
        ("0.5", 45 * DAY),
        (".5", 45 * DAY),
        ("10%", 9 * DAY),
        ("0.5%", 0.45 * DAY),
        ("7d", 7 * DAY),
        ("12h", DAY / 2),
        ("90s", timedelta(seconds=90)),
        (" 5m ", timedelta(minutes=5)),
        ("0", timedelta()),
        ("1/1", 90 * DAY),
    ],
)
def test_a_threshold_of_ninety_days(text: str, left: timedelta) -> None:
    found = parse_threshold(text).of(90 * DAY)

    assert abs(found - left) < timedelta(milliseconds=1)


@pytest.mark.parametrize(
    "text", ["", "30", "3/2", "1/0", "101%", "-1d", "a third", "1e3", "0.5d/2"]
)
def test_what_is_no_threshold_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_threshold(text)

    assert "1/3" in (caught.value.hint or "")
