"""Times that an earlier run wrote down: which of them count, after a clock was ahead or behind."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.model.ca import LedgerEntry, LimitedAction
from certctl.model.certificate import AriState, LastError, RenewalInfo, RenewalState
from certctl.model.delivery import Deployment
from certctl.model.run import LastAlert, PrintedFailure, RunHistory
from certctl.rules.remembered_state import (
    believed_deployment,
    believed_entries,
    believed_history,
    believed_renewal_state,
)
from certctl.rules.remembered_times import TOLERANCE, believed
from certctl.rules.renewal import BACKOFF, LONGEST_PAUSE, decide, in_backoff, latest_renewal
from tests.support.nouns import ISSUED, SPEC, asked, days, issued, status, tried
from tests.unit.store_samples import NAME, NOW, open_store, save, wanted

HOUR = timedelta(hours=1)
FUTURE = datetime(2037, 6, 8, tzinfo=UTC)
LIVE = issued(SPEC, days(90))


def failed(at: datetime) -> LastError:
    return LastError("acme.tls", "certificate has expired", at, "transient")


# The rule.


@pytest.mark.parametrize(
    ("ahead", "within", "counts"),
    [
        (-days(10_000), timedelta(0), True),
        (timedelta(0), timedelta(0), True),
        (TOLERANCE, timedelta(0), True),
        (TOLERANCE + timedelta(seconds=1), timedelta(0), False),
        (days(1), days(1), True),
        (days(2), days(1), False),
        (days(4000), days(7), False),
    ],
)
def test_an_event_counts_until_now_and_a_pause_up_to_its_longest_duration(
    ahead: timedelta, within: timedelta, counts: bool
) -> None:
    assert (believed(NOW + ahead, NOW, within) is not None) == counts


def test_no_time_is_never_believed() -> None:
    assert believed(None, NOW) is None


# Renewal state.


def remembered(renewal_state: RenewalState, saved_at: datetime | None = ISSUED) -> RenewalState:
    return believed_renewal_state(renewal_state, LIVE, saved_at, ISSUED + days(61))


@given(ahead=st.timedeltas(min_value=timedelta(minutes=1), max_value=days(5000)))
def test_a_failure_that_is_dated_in_the_future_counts_for_nothing(ahead: timedelta) -> None:
    then = ISSUED + days(61) + ahead

    state = remembered(
        tried(3, then, failed(then), then + days(1), revoked=(7,), compromised_keys=("ab",))
    )

    assert state == RenewalState(revoked=(7,), compromised_keys=("ab",))


@pytest.mark.parametrize("pause", [timedelta(minutes=1), days(1), LONGEST_PAUSE - HOUR])
def test_a_failure_and_its_pause_up_to_the_longest_one_count(pause: timedelta) -> None:
    now = ISSUED + days(61)
    state = tried(2, now, failed(now), now + pause)

    assert remembered(state) == state


@pytest.mark.parametrize("pause", [LONGEST_PAUSE + HOUR, days(4000)])
def test_a_pause_longer_than_the_longest_one_holds_nothing_back(pause: timedelta) -> None:
    now = ISSUED + days(61)
    state = tried(2, now, failed(now), now + pause)

    assert remembered(state) == tried(2, now, failed(now))


def test_no_pause_ends_after_the_expiry_of_a_valid_certificate() -> None:
    now = ISSUED + days(88)
    state = tried(2, now, failed(now), LIVE.facts.not_after + HOUR)

    found = believed_renewal_state(state, LIVE, now, now)

    assert (found.retry_at, in_backoff(found, now)) == (None, False)


def test_far_off_times_that_no_clock_has_written_count() -> None:
    window = RenewalInfo(ISSUED + days(120), ISSUED + days(122), ISSUED + days(121))
    state = RenewalState(
        paused_until=latest_renewal(LIVE),
        ari=(AriState("id", window, LIVE.facts.not_after),),
        renewed_by_ari=ISSUED,
    )

    assert remembered(state) == state


def test_a_pause_after_a_rollback_beyond_the_latest_renewal_does_not_count() -> None:
    state = remembered(RenewalState(paused_until=latest_renewal(LIVE) + HOUR))

    assert state.paused_until is None


@pytest.mark.parametrize(
    ("ask_at", "saved_at"),
    [(FUTURE, ISSUED), (ISSUED + days(62), FUTURE), (LIVE.facts.not_after + HOUR, None)],
    ids=["after its expiry", "saved in the future", "after its expiry, saved at an unknown time"],
)
def test_the_ca_is_asked_again_where_a_clock_was_ahead(
    ask_at: datetime, saved_at: datetime | None
) -> None:
    state = remembered(asked("id", ask_at=ask_at, unanswered=2), saved_at)

    assert state == asked("id")


def test_a_renewal_by_ari_in_the_future_delays_no_other() -> None:
    assert remembered(RenewalState(renewed_by_ari=FUTURE)).renewed_by_ari is None


# A certificate that was issued meanwhile.


def test_a_certificate_that_was_issued_while_the_clock_was_ahead_is_due_until_it_is_valid() -> None:
    before, after = ISSUED - days(30), ISSUED + HOUR
    pause = RenewalState(paused_until=latest_renewal(LIVE))

    found = [decide(SPEC, status(LIVE, renewal_state=pause), now) for now in (before, after)]

    assert [(each.due, each.reason) for each in found] == [
        (True, "not_yet_valid"),
        (False, "paused"),
    ]


def test_a_clock_that_is_behind_orders_no_certificate_after_the_other() -> None:
    behind = replace(LIVE, issued=ISSUED - days(30))

    assert not decide(SPEC, status(behind), ISSUED - days(30) + HOUR).due


# Deployments, runs, ledgers.


def test_a_deployment_that_failed_in_the_future_is_tried_again() -> None:
    state = Deployment(2, 1, FUTURE, 3, failed(FUTURE), FUTURE + HOUR, FUTURE, ("/a",))

    assert believed_deployment(state, NOW) == Deployment(2, 1, copies=("/a",))


def test_a_deployment_waits_no_longer_than_the_longest_pause() -> None:
    state = Deployment(2, 1, NOW, 3, failed(NOW), NOW + BACKOFF[-1], NOW)

    assert believed_deployment(state, NOW) == state
    too_long = replace(state, retry_at=NOW + 2 * BACKOFF[-1])
    assert believed_deployment(too_long, NOW) == replace(state, retry_at=None)


def test_runs_and_alerts_in_the_future_count_for_nothing_but_are_known() -> None:
    history = RunHistory((NOW - HOUR, NOW, FUTURE), 1, FUTURE, LastAlert(FUTURE, ("a b",)))

    assert believed_history(history, NOW) == RunHistory((NOW - HOUR, NOW), latest_in_future=FUTURE)


def test_a_run_long_ago_does_not_lengthen_the_interval() -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)

    assert RunHistory((epoch, NOW, NOW + HOUR)).interval == HOUR


def test_requests_in_the_future_use_up_no_limit() -> None:
    now, future = (LedgerEntry(LimitedAction.ORDER, at) for at in (NOW, FUTURE))

    assert believed_entries([now, future], NOW) == [now]


# Files.


def test_each_file_is_read_without_what_a_clock_that_was_ahead_wrote(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    save(store)
    store.save_spec(wanted())
    store.save_deployment(NAME, Deployment(1, None, FUTURE, 1, failed(FUTURE), FUTURE, FUTURE))
    failure = tried(1, FUTURE, failed(FUTURE), FUTURE)
    store.save_renewal_state(NAME, failure, next_action_at=FUTURE)
    printed = [PrintedFailure("a b", FUTURE)]
    store.record_run(FUTURE, 0, LastAlert(FUTURE, ("a b",)), printed)

    found = open_store(tmp_path).status(NAME)

    assert found.renewal_state == RenewalState()
    assert found.deployment == Deployment(1)
    assert open_store(tmp_path).history() == RunHistory(latest_in_future=FUTURE)


def test_a_certificate_that_fails_never_sleeps(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    save(store)
    store.save_spec(wanted())
    store.save_deployment(NAME, Deployment(wanted=1, deployed=1, deployed_at=NOW))

    store.save_renewal_state(NAME, tried(1, NOW, failed(NOW), NOW), next_action_at=FUTURE)

    assert list(store.possibly_due([NAME], NOW)) == [NAME]


@pytest.mark.parametrize("saved_at", [FUTURE.isoformat(), None], ids=["in the future", "unknown"])
def test_a_state_saved_by_a_clock_that_was_ahead_lets_no_certificate_sleep(
    tmp_path: Path, saved_at: str | None
) -> None:
    store = open_store(tmp_path)
    save(store)
    store.save_spec(wanted())
    store.save_deployment(NAME, Deployment(wanted=1, deployed=1, deployed_at=NOW))
    store.save_renewal_state(NAME, RenewalState(), next_action_at=FUTURE)
    assert list(store.possibly_due([NAME], NOW)) == []

    path = tmp_path / "renewal" / f"{NAME}.json"
    document = {**json.loads(path.read_text()), "saved_at": saved_at}
    path.write_text(json.dumps(document))

    assert list(store.possibly_due([NAME], NOW)) == [NAME]
