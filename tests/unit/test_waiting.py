"""When something can be tried again, in words."""

from datetime import UTC, datetime

import pytest

from certctl.rules.waiting import again

NOW = datetime(2026, 1, 1, 14, 35, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, None),
        (0, None),
        (1, "at 14:35 UTC, in 1 minute"),
        (90, "at 14:37 UTC, in 2 minutes"),
        (3600, "at 15:35 UTC, in 1 hour"),
        (5400, "at 16:05 UTC, in 90 minutes"),
        (7200, "at 16:35 UTC, in 2 hours"),
        (86400, "at 2026-01-02 14:35 UTC, in 1 day"),
        (7 * 86400, "at 2026-01-08 14:35 UTC, in 7 days"),
    ],
)
def test_a_wait_is_told_with_its_end_and_its_length(seconds: float | None, words: str) -> None:
    assert again(NOW, seconds) == words
