"""What a failure means for the next attempt, and what a success forgets."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.model.certificate import (
    AriState,
    CertificateFacts,
    LastError,
    RenewalInfo,
    RenewalState,
)
from certctl.model.delivery import Deployment
from certctl.model.errors import (
    AcmeError,
    DeployFailed,
    Failure,
    RateLimited,
    ValidationFailed,
)
from certctl.rules.renewal import (
    SHORTEST_PAUSE,
    after_failure,
    after_success,
    backoff,
    deploy_failed,
    in_backoff,
    no_longer_due,
)
from tests.support.nouns import CA, ISSUED, LIVE, days, status, tried


@pytest.mark.parametrize(
    ("failures", "minutes"), [(0, 1), (1, 1), (2, 10), (3, 100), (4, 1440), (5, 1440), (99, 1440)]
)
def test_the_pause_grows_with_failures_in_a_row(failures: int, minutes: int) -> None:
    again = backoff(failures, ISSUED, retry_after=None, facts=None)

    assert again - ISSUED == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("failures", "retry_after", "seconds"),
    [(1, 5.0, 60), (1, 3600.0, 3600), (4, 3600.0, 86400), (1, 0.0, 60), (2, 7 * 86400.0, 604800)],
)
def test_the_ca_can_make_a_pause_longer_but_not_shorter(
    failures: int, retry_after: float, seconds: float
) -> None:
    again = backoff(failures, ISSUED, retry_after=retry_after, facts=None)

    assert again - ISSUED == timedelta(seconds=seconds)


def lasting(lifetime: timedelta, left: timedelta) -> CertificateFacts:
    """What a certificate says of itself that has so much left on `ISSUED`."""
    end = ISSUED + left
    return replace(LIVE.facts, not_before=end - lifetime, not_after=end)


def test_a_pause_takes_half_of_the_time_that_is_left_at_most() -> None:
    facts = lasting(days(90), timedelta(hours=4))

    assert backoff(4, ISSUED, retry_after=86400.0, facts=facts) == ISSUED + timedelta(hours=2)


def test_that_half_is_never_under_five_seconds() -> None:
    facts = lasting(days(90), timedelta(seconds=8))

    assert backoff(4, ISSUED, retry_after=None, facts=facts) == ISSUED + SHORTEST_PAUSE


@pytest.mark.parametrize("left", [days(40), days(-1)], ids=["valid", "expired"])
def test_what_lives_long_is_tried_again_by_the_usual_pauses(left: timedelta) -> None:
    facts = lasting(days(90), left)

    assert backoff(2, ISSUED, retry_after=None, facts=facts) == ISSUED + timedelta(minutes=10)
    assert backoff(9, ISSUED, retry_after=None, facts=facts) == ISSUED + days(1)


@pytest.mark.parametrize("left", [days(3), days(-1)], ids=["valid", "expired"])
def test_what_lives_shortly_is_tried_again_after_a_tenth_of_its_lifetime(left: timedelta) -> None:
    facts = lasting(days(6), left)

    assert backoff(9, ISSUED, retry_after=None, facts=facts) == ISSUED + days(0.6)
    assert backoff(9, ISSUED, retry_after=86400.0, facts=facts) == ISSUED + days(1)


@given(
    st.integers(min_value=1, max_value=1000),
    st.none() | st.floats(min_value=0, max_value=7 * 86400),
    st.timedeltas(timedelta(seconds=5, microseconds=1), days(400)),
)
def test_no_certificate_expires_unattempted(
    failures: int, retry_after: float | None, left: timedelta
) -> None:
    facts = lasting(days(400), left)
    again = backoff(failures, ISSUED, retry_after=retry_after, facts=facts)

    assert ISSUED + SHORTEST_PAUSE <= again < ISSUED + left


def test_a_failure_is_remembered_with_what_it_said() -> None:
    now = ISSUED + days(61)
    error = RateLimited("too many", status=429, retry_after=7200, hint="Wait.")
    renewal_state = after_failure(tried(1), CA, error, now, LIVE.facts)

    assert renewal_state == tried(
        failures=2,
        last_attempt=now,
        last_error=LastError("acme.rate_limited", "too many", now, "rate_limited", "Wait."),
        retry_at=now + timedelta(hours=2),
    )


def test_an_error_that_is_not_the_cas_has_no_say_in_the_pause() -> None:
    renewal_state = after_failure(RenewalState(), CA, ValidationFailed("no answer"), ISSUED, None)

    assert renewal_state.retry_at == ISSUED + timedelta(minutes=1)
    assert renewal_state.last_error is not None
    assert renewal_state.last_error.failure == Failure.VALIDATION


def test_a_failure_keeps_what_else_is_remembered() -> None:
    before = RenewalState(
        paused_until=ISSUED + days(3), revoked=(1,), compromised_keys=("22" * 32,)
    )

    after = after_failure(before, CA, AcmeError("no"), ISSUED, None)

    assert (after.paused_until, after.revoked, after.compromised_keys) == (
        ISSUED + days(3),
        (1,),
        ("22" * 32,),
    )


def test_a_success_forgets_failures_and_a_pause_but_not_what_was_revoked() -> None:
    info = RenewalInfo(ISSUED, ISSUED, ISSUED)
    before = tried(
        failures=3,
        last_error=LastError("a", "b", ISSUED, "transient"),
        retry_at=ISSUED + days(9),
        paused_until=ISSUED + days(9),
        revoked=(1,),
        compromised_keys=("22" * 32,),
        ari=(AriState("id", info),),
    )

    assert after_success(before, CA, ISSUED) == tried(
        last_attempt=ISSUED, revoked=(1,), compromised_keys=("22" * 32,)
    )


def test_where_nothing_is_due_any_more_earlier_failures_are_forgotten_and_nothing_else() -> None:
    paused = tried(
        last_attempt=ISSUED, paused_until=ISSUED + days(9), revoked=(1,), compromised_keys=("22",)
    )
    failed = after_failure(paused, CA, AcmeError("no"), ISSUED, None)

    assert no_longer_due(failed) == paused


def test_a_deploy_that_failed_stays_owed_and_waits() -> None:
    before = Deployment(wanted=2, deployed=1, failures=2)
    error = DeployFailed("nginx said no", name="example.com")

    after = deploy_failed(before, error, ISSUED)

    assert (after.wanted, after.deployed, after.failures) == (2, 1, 3)
    assert after.retry_at == ISSUED + timedelta(minutes=100)
    assert after.last_error is not None
    assert after.last_error.code == "deploy.failed"


def test_a_deploy_that_held_and_failed_when_it_was_done_again_is_owed_again() -> None:
    before = Deployment(wanted=1, deployed=1, deployed_at=ISSUED)

    after = deploy_failed(before, DeployFailed("nginx said no"), ISSUED)

    assert status(LIVE, deployment=before).undeployed is False
    assert status(LIVE, deployment=after).undeployed is True


@pytest.mark.parametrize(
    ("retry_at", "waits"),
    [(None, False), (ISSUED, False), (ISSUED + timedelta(seconds=1), True)],
)
def test_waiting_ends_at_its_moment(retry_at: datetime | None, waits: bool) -> None:
    assert in_backoff(tried(retry_at=retry_at), ISSUED) is waits
    assert in_backoff(Deployment(retry_at=retry_at), ISSUED) is waits
