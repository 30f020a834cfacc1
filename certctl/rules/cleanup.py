"""When the removal of a challenge response is tried again, and when it is given up.

Pure rules. A response that cannot be removed (a record, a file, what a hook published) does no harm
by itself, so that it must not cost every run a warning and the time of a server that is silent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from certctl.model.errors import CertctlError
from certctl.model.validation import CleanupState
from certctl.rules.remembered_times import believed

FIRST_PAUSE = timedelta(hours=1)
LONGEST_PAUSE = timedelta(days=1)
GIVEN_UP_AFTER = timedelta(days=7)


def is_due(state: CleanupState, now: datetime) -> bool:
    """Return whether to try now."""
    retry_at = believed(state.retry_at, now, LONGEST_PAUSE)
    return retry_at is None or retry_at <= now


def after_failure(state: CleanupState, error: CertctlError, now: datetime) -> CleanupState:
    """Return the state after one more failed attempt; the pauses double up to the longest one."""
    since = believed(state.since, now) or now
    pause = min(FIRST_PAUSE * 2 ** min(state.failures, 8), LONGEST_PAUSE)
    return CleanupState(state.failures + 1, since, now + pause, error.message)


def is_given_up(state: CleanupState, now: datetime) -> bool:
    """Return whether the attempts have failed for so long that no more are made."""
    return state.since is not None and now - state.since >= GIVEN_UP_AFTER


@contextmanager
def partly_placed(earlier: bool) -> Iterator[None]:
    """Mark an error as having left something behind, if `earlier` responses were placed."""
    try:
        yield
    except CertctlError as error:
        if earlier:
            error.nothing_placed = False
        raise
