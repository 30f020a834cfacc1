"""A CA's advice when to renew (RFC 9773): what it changes, and what it cannot do to us."""

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.model.ca import SuggestedWindow
from certctl.model.certificate import RenewalInfo, RenewalState, Version
from certctl.rules.ari import (
    PERMANENT,
    TEMPORARY,
    after_answer,
    after_no_answer,
    after_not_offered,
    ari_state,
    next_request_time,
    renewal_info_for,
)
from certctl.rules.renewal import (
    after_success,
    decide,
    latest_renewal,
    renewal_time,
)
from certctl.rules.renewal_windows import interval_too_long, next_action
from tests.support.nouns import (
    CA,
    ISSUED,
    LIVE,
    SPEC,
    asked,
    days,
    issued,
    status,
    wanted,
    with_facts,
)

CERT_ID = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
HOUR = timedelta(hours=1)


def known(version: Version = LIVE) -> Version:
    """The version with a CertID, without which no CA can be asked."""
    return with_facts(version, ari_id=CERT_ID)


KNOWN = known()


def said(
    start: datetime,
    end: datetime,
    chosen: datetime | None = None,
    *,
    withdrawn: bool = False,
    why: str | None = None,
) -> RenewalState:
    """The memory of an answer."""
    info = RenewalInfo(start, end, chosen or start, why, withdrawn)
    return asked(CERT_ID, info, ISSUED + days(1000))


def asked_again(renewal_state: RenewalState) -> datetime:
    """When the CA is asked about `KNOWN` again."""
    found = ari_state(KNOWN, renewal_state).ask_at
    assert found is not None
    return found


# What an answer becomes.


@given(st.integers())
def test_the_time_is_chosen_within_the_window(seed: int) -> None:
    window = SuggestedWindow(ISSUED + days(50), ISSUED + days(52), 3600)

    renewal_state = after_answer(RenewalState(), KNOWN, window, ISSUED, Random(seed))

    (found,) = renewal_state.ari
    assert found.info is not None
    assert window.start <= found.info.chosen <= window.end
    assert found.ask_at == ISSUED + HOUR


def test_different_certificates_choose_different_times() -> None:
    window = SuggestedWindow(ISSUED, ISSUED + days(1), 3600)
    chosen = set()
    for seed in range(50):
        state = after_answer(RenewalState(), KNOWN, window, ISSUED, Random(seed))
        info = renewal_info_for(KNOWN, state)
        assert info is not None
        chosen.add(info.chosen)

    assert len(chosen) == 50


def test_the_time_is_chosen_once_for_a_window_and_anew_for_another() -> None:
    window = SuggestedWindow(ISSUED + days(50), ISSUED + days(52), 3600, "https://ca.example/1")
    first = after_answer(RenewalState(), KNOWN, window, ISSUED, Random(1))
    again = replace(window, explanation_url="https://ca.example/2")
    second = after_answer(first, KNOWN, again, ISSUED + HOUR, Random(2))
    other = after_answer(second, KNOWN, replace(window, end=ISSUED + days(53)), ISSUED, Random(3))

    infos = [renewal_info_for(KNOWN, each) for each in (first, second, other)]
    chosen = [each.chosen for each in infos if each is not None]
    assert chosen == [chosen[0], chosen[0], chosen[2]]
    assert chosen[2] != chosen[0]
    assert infos[1] is not None
    assert infos[1].explanation_url == "https://ca.example/2"


def test_a_window_of_another_certificate_is_no_advice_for_this_one() -> None:
    renewal_state = said(ISSUED, ISSUED + HOUR)
    other = with_facts(KNOWN, ari_id="another.one")

    assert renewal_info_for(KNOWN, renewal_state) is not None
    assert renewal_info_for(other, renewal_state) is None
    assert decide(SPEC, status(other, renewal_state), ISSUED + days(1)).reason == "lifetime"


@pytest.mark.parametrize(
    ("before", "withdrawn"),
    [
        (RenewalState(), False),
        (said(ISSUED + days(50), ISSUED + days(52)), True),
        (said(ISSUED - days(9), ISSUED - days(8)), False),
        (said(ISSUED - days(9), ISSUED - days(8), withdrawn=True), True),
    ],
    ids=["the first answer", "one still to come", "one over already", "withdrawn before"],
)
def test_only_a_window_that_moves_into_the_past_withdraws(
    before: RenewalState, withdrawn: bool
) -> None:
    past = SuggestedWindow(ISSUED, ISSUED + HOUR, 3600)

    state = after_answer(before, KNOWN, past, ISSUED + days(1), Random(1))
    info = renewal_info_for(KNOWN, state)

    assert info is not None
    assert info.withdrawn is withdrawn


# When the CA is asked.


def test_a_certificate_without_a_cert_id_and_one_that_has_expired_are_not_asked_about() -> None:
    assert next_request_time(LIVE, RenewalState(), ISSUED) is None
    assert next_request_time(KNOWN, RenewalState(), ISSUED + days(90)) is None
    assert next_request_time(KNOWN, RenewalState(), ISSUED + days(89)) == ISSUED + days(89)


def test_without_an_answer_the_pauses_grow_and_a_lasting_error_waits_six_hours() -> None:
    state, pauses = RenewalState(), []
    for _ in range(5):
        state = after_no_answer(state, KNOWN, ISSUED, permanent=False, retry_after=None)
        pauses.append(asked_again(state) - ISSUED)
    permanent = after_no_answer(RenewalState(), KNOWN, ISSUED, permanent=True, retry_after=None)

    assert pauses == [*TEMPORARY, TEMPORARY[-1]]
    assert asked_again(permanent) == ISSUED + PERMANENT


def test_a_retry_after_is_honoured_up_to_a_day() -> None:
    hours = after_no_answer(RenewalState(), KNOWN, ISSUED, permanent=False, retry_after=7200)
    years = after_no_answer(RenewalState(), KNOWN, ISSUED, permanent=True, retry_after=1e9)

    assert asked_again(hours) == ISSUED + 2 * HOUR
    assert asked_again(years) == ISSUED + days(1)


def test_an_earlier_answer_outlives_an_outage() -> None:
    before = said(ISSUED + days(50), ISSUED + days(52))

    after = after_no_answer(before, KNOWN, ISSUED + days(1), permanent=True, retry_after=None)

    assert renewal_info_for(KNOWN, after) == renewal_info_for(KNOWN, before)


def test_a_ca_without_renewal_information_is_not_asked_again_about_this_version() -> None:
    renewal_state = after_not_offered(said(ISSUED, ISSUED + HOUR), KNOWN)

    assert renewal_info_for(KNOWN, renewal_state) is None
    assert next_action(SPEC, status(KNOWN, renewal_state), ISSUED) == renewal_time(KNOWN)


# What follows from it.


def test_it_is_due_at_the_chosen_time_and_says_by_whose_advice() -> None:
    chosen = ISSUED + days(51)
    renewal_state = said(ISSUED + days(50), ISSUED + days(52), chosen, why="https://ca.example/why")
    before = decide(SPEC, status(KNOWN, renewal_state), chosen - timedelta(seconds=1))
    then = decide(SPEC, status(KNOWN, renewal_state), chosen)

    assert (before.due, before.at, before.reason) == (False, chosen, "ari")
    assert (then.due, then.at, then.reason) == (True, chosen, "ari")
    assert "https://ca.example/why" in then.why


def test_in_an_open_window_what_falls_before_the_next_run_is_done_now() -> None:
    renewal_state = said(ISSUED + days(50), ISSUED + days(52), ISSUED + days(50) + 2 * HOUR)
    now = ISSUED + days(50) + HOUR

    assert decide(SPEC, status(KNOWN, renewal_state), now, timedelta(minutes=59)).due is False
    assert decide(SPEC, status(KNOWN, renewal_state), now, timedelta(minutes=61)).due is True
    assert decide(SPEC, status(KNOWN, renewal_state), now - 2 * HOUR, days(1)).due is False


def test_advice_may_come_after_the_schedule_but_not_after_a_sixth_is_left() -> None:
    late = said(ISSUED + days(70), ISSUED + days(71))
    too_late = said(ISSUED + days(85), ISSUED + days(88))

    assert decide(SPEC, status(KNOWN, late), ISSUED + days(65)).due is False
    decision = decide(SPEC, status(KNOWN, too_late), ISSUED + days(75))
    assert (decision.due, decision.at, decision.reason) == (True, latest_renewal(KNOWN), "lifetime")


def test_a_withdrawn_certificate_is_replaced_at_once() -> None:
    renewal_state = said(ISSUED, ISSUED + HOUR, withdrawn=True)
    rested = replace(renewal_state, renewed_by_ari=ISSUED)

    for each in (renewal_state, rested):
        decision = decide(SPEC, status(KNOWN, each), ISSUED + days(1))
        assert (decision.due, decision.reason) == (True, "withdrawn")


@pytest.mark.parametrize("lifetime", [days(90), days(6), timedelta(hours=1)])
def test_windows_that_are_always_over_renew_once_in_a_tenth_of_the_lifetime(
    lifetime: timedelta,
) -> None:
    now, orders, renewed = ISSUED, 0, None
    while now < ISSUED + lifetime:
        live = known(issued(SPEC, lifetime))
        start = renewed or ISSUED
        live = with_facts(live, not_before=start, not_after=start + lifetime)
        renewal_state = replace(said(start - days(9), start - days(8)), renewed_by_ari=renewed)
        if decide(SPEC, status(live, renewal_state), now).due:
            orders, renewed = orders + 1, now
        now += lifetime / 100

    assert orders == 10


@given(
    st.floats(-100, 200), st.floats(0.001, 100), st.floats(0, 1), st.floats(0, 100), st.booleans()
)
def test_whatever_a_ca_says_a_certificate_is_due_before_a_sixth_is_left(
    start: float, length: float, part: float, rested: float, was_advised: bool
) -> None:
    begin, end = ISSUED + days(start), ISSUED + days(start + length)
    renewal_state = said(begin, end, begin + (end - begin) * part)
    if was_advised:
        renewal_state = replace(renewal_state, renewed_by_ari=ISSUED - days(rested))

    assert decide(SPEC, status(KNOWN, renewal_state), latest_renewal(KNOWN)).due is True


# What is remembered.


def test_a_renewal_on_advice_is_remembered_and_the_advice_itself_forgotten() -> None:
    renewal_state = said(ISSUED, ISSUED + HOUR)
    by_ari = after_success(renewal_state, CA, ISSUED + days(2), by_ari=True)

    assert by_ari.renewed_by_ari == ISSUED + days(2)
    assert by_ari.ari == ()
    assert after_success(by_ari, CA, ISSUED + days(3)).renewed_by_ari == ISSUED + days(2)


def test_between_answers_nothing_is_looked_at() -> None:
    info = RenewalInfo(ISSUED + days(50), ISSUED + days(52), ISSUED + days(50))
    renewal_state = asked(CERT_ID, info, ISSUED + HOUR)

    assert next_action(SPEC, status(KNOWN, renewal_state), ISSUED) == ISSUED + HOUR


def test_in_an_open_window_each_run_looks() -> None:
    opening = ISSUED + days(50)
    renewal_state = said(opening, ISSUED + days(52), ISSUED + days(51))
    now = opening + HOUR

    assert next_action(SPEC, status(KNOWN, renewal_state), ISSUED) == opening
    assert next_action(SPEC, status(KNOWN, renewal_state), now) == now


def test_a_stopped_certificate_asks_nobody() -> None:
    assert next_action(wanted(chosen={"autorenew": False}), status(KNOWN), ISSUED) is None


def test_a_certificate_that_was_never_asked_about_is_looked_at_at_once() -> None:
    assert next_action(SPEC, status(KNOWN), ISSUED) == ISSUED


# How often runs must come.


def test_runs_that_come_too_seldom_for_a_window_are_told_of() -> None:
    six_days = known(issued(SPEC, timedelta(hours=160)))
    window = said(ISSUED + 80 * HOUR, ISSUED + 83 * HOUR)

    assert interval_too_long(six_days, window, HOUR) is None
    assert interval_too_long(six_days, window, 12 * HOUR) == (
        3 * HOUR,
        "the renewal window suggested by its CA",
    )
    assert interval_too_long(six_days, RenewalState(), 12 * HOUR) is None
    found = interval_too_long(six_days, RenewalState(), days(7))
    assert found is not None
    assert found[0] == latest_renewal(six_days) - renewal_time(six_days)
