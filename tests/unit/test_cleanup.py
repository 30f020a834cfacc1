"""When the removal of a challenge response is tried again, and when it is given up."""

from datetime import UTC, datetime, timedelta

from certctl.model.errors import ChallengeError
from certctl.model.validation import CleanupState
from certctl.rules.cleanup import GIVEN_UP_AFTER, LONGEST_PAUSE, after_failure, is_due, is_given_up

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ERROR = ChallengeError("no answer")


def test_pauses_double_from_an_hour_to_a_day() -> None:
    state, now, pauses = CleanupState(), NOW, list[float]()
    for _ in range(7):
        state = after_failure(state, ERROR, now)
        assert state.retry_at is not None
        pauses.append((state.retry_at - now) / timedelta(hours=1))
        now = state.retry_at

    assert pauses == [1, 2, 4, 8, 16, 24, 24]
    assert (state.since, state.failures, state.error) == (NOW, 7, "no answer")


def test_an_attempt_is_due_at_first_and_after_its_pause() -> None:
    failed = after_failure(CleanupState(), ERROR, NOW)

    assert is_due(CleanupState(), NOW)
    assert not is_due(failed, NOW + timedelta(minutes=59))
    assert is_due(failed, NOW + timedelta(hours=1))


def test_a_time_written_by_a_clock_that_was_ahead_holds_nothing_back() -> None:
    ahead = after_failure(CleanupState(), ERROR, NOW + 2 * LONGEST_PAUSE)

    assert is_due(ahead, NOW)
    assert not is_given_up(ahead, NOW)
    assert after_failure(ahead, ERROR, NOW).since == NOW


def test_it_is_given_up_after_a_week_of_failures() -> None:
    state = after_failure(CleanupState(), ERROR, NOW)

    assert not is_given_up(state, NOW + GIVEN_UP_AFTER - timedelta(seconds=1))
    assert is_given_up(state, NOW + GIVEN_UP_AFTER)
