"""When a certificate is due, by which rule, and what a failure means for the next attempt."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.model.certificate import RenewalState, Request, Version
from certctl.model.delivery import Deployment
from certctl.model.errors import CertctlError
from certctl.model.spec import CertificateSpec, KeyType
from certctl.model.values import Value
from certctl.rules.renewal import (
    after_failure,
    after_success,
    decide,
    differences,
    latest_renewal,
    renewal_time,
    request_of,
)
from certctl.rules.renewal_windows import next_action
from tests.support.nouns import CA, ISSUED, LIVE, SPEC, days, issued, status, wanted

# The rules, one by one.


def test_without_a_certificate_one_is_due() -> None:
    decision = decide(SPEC, status(None), ISSUED)

    assert (decision.due, decision.at, decision.reason) == (True, ISSUED, "missing")


@pytest.mark.parametrize(
    ("lifetime", "due_after"),
    [
        (days(90), days(60)),
        (days(45), days(30)),
        (days(365), days(365) * 2 / 3),
        (days(10), days(10) * 2 / 3),
        (days(10) - timedelta(seconds=1), (days(10) - timedelta(seconds=1)) / 2),
        (timedelta(hours=160), timedelta(hours=80)),
        (timedelta(minutes=10), timedelta(minutes=5)),
    ],
)
def test_it_is_due_from_the_moment_that_a_third_is_left_or_half_of_a_short_one(
    lifetime: timedelta, due_after: timedelta
) -> None:
    live = issued(SPEC, lifetime)
    moment = ISSUED + due_after
    before = decide(SPEC, status(live), moment - timedelta(milliseconds=1))
    then = decide(SPEC, status(live), moment)

    assert (before.due, then.due) == (False, True)
    assert before.at == then.at == renewal_time(live)
    assert before.reason == then.reason == "lifetime"
    assert abs(renewal_time(live) - moment) < timedelta(milliseconds=1)


def test_it_is_expired_from_its_last_moment_on() -> None:
    end = LIVE.facts.not_after

    assert decide(SPEC, status(LIVE), end - timedelta(seconds=1)).reason == "lifetime"
    assert decide(SPEC, status(LIVE), end).reason == "expired"
    assert decide(SPEC, status(LIVE), end + days(1000)).due is True


def test_a_revoked_version_is_due_and_an_older_one_that_was_revoked_is_nothing() -> None:
    now = ISSUED + days(1)
    live = issued(SPEC, number=2)

    assert decide(SPEC, status(live, RenewalState(revoked=(1, 2))), now).reason == "revoked"
    assert decide(SPEC, status(live, RenewalState(revoked=(1,))), now).due is False


def test_what_is_wanted_otherwise_is_due() -> None:
    decision = decide(wanted("example.com,www.example.com"), status(LIVE), ISSUED + days(1))

    assert (decision.due, decision.at, decision.reason) == (True, ISSUED + days(1), "changed")
    assert decision.why == "its specification has changed: adds www.example.com"


def test_stopped_is_never_due() -> None:
    stopped = wanted(chosen={"autorenew": False})

    for live in (None, LIVE):
        decision = decide(stopped, status(live), ISSUED + days(1000))

        assert (decision.due, decision.at, decision.reason) == (False, None, "stopped")


def test_a_rollback_pauses_renewal_until_a_sixth_is_left() -> None:
    until = latest_renewal(LIVE)
    paused = status(LIVE, RenewalState(paused_until=until))

    assert until == ISSUED + days(75)
    before = decide(SPEC, paused, until - timedelta(seconds=1))
    assert (before.due, before.at, before.reason) == (False, until, "paused")
    assert decide(SPEC, paused, until).due is True


def test_a_pause_that_is_over_changes_nothing() -> None:
    renewal_state = RenewalState(paused_until=ISSUED + days(1))

    assert decide(SPEC, status(LIVE, renewal_state), ISSUED + days(2)) == decide(
        SPEC, status(LIVE), ISSUED + days(2)
    )


# Their order: where several hold, the first gives the reason.

PAUSED = RenewalState(paused_until=ISSUED + days(1000))
REVOKED = RenewalState(revoked=(1,))
PAUSED_AND_REVOKED = RenewalState(paused_until=ISSUED + days(1000), revoked=(1,))
OTHER = wanted("other.example")


@pytest.mark.parametrize(
    ("spec", "live", "renewal_state", "after", "reason"),
    [
        (replace(OTHER, autorenew=False), LIVE, PAUSED_AND_REVOKED, days(91), "stopped"),
        (OTHER, None, PAUSED_AND_REVOKED, days(91), "missing"),
        (SPEC, LIVE, PAUSED_AND_REVOKED, days(91), "expired"),
        (SPEC, LIVE, PAUSED_AND_REVOKED, days(89), "revoked"),
        (OTHER, LIVE, PAUSED, days(89), "paused"),
        (OTHER, LIVE, RenewalState(), days(89), "changed"),
        (SPEC, LIVE, RenewalState(), days(89), "lifetime"),
    ],
)
def test_the_first_rule_that_holds_gives_the_reason(
    spec: CertificateSpec,
    live: Version | None,
    renewal_state: RenewalState,
    after: timedelta,
    reason: str,
) -> None:
    assert decide(spec, status(live, renewal_state), ISSUED + after).reason == reason


@given(
    st.timedeltas(timedelta(minutes=1), days(400)),
    st.timedeltas(timedelta(0), days(800)),
)
def test_a_certificate_that_is_not_due_says_when_it_will_be(
    lifetime: timedelta, after: timedelta
) -> None:
    live = issued(SPEC, lifetime)
    decision = decide(SPEC, status(live), ISSUED + after)

    if decision.due:
        assert decision.at is not None
        assert decision.at <= ISSUED + after
    else:
        assert decision.at is not None
        assert ISSUED + after < decision.at < live.facts.not_after
        assert decide(SPEC, status(live), decision.at).due is True


@given(st.timedeltas(timedelta(minutes=1), days(400)))
def test_a_certificate_stays_due_until_it_is_renewed(lifetime: timedelta) -> None:
    live = issued(SPEC, lifetime)
    first = renewal_time(live)

    assert all(
        decide(SPEC, status(live), first + lifetime * step / 10).due is True for step in range(20)
    )


# Wish and request.


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        (SPEC, ()),
        (wanted("www.example.com,example.com"), ("adds www.example.com",)),
        (wanted("b.example,a.example"), ("adds a.example, b.example", "removes example.com")),
        (wanted(chosen={"key_type": "rsa-2048"}), ("key rsa-2048 instead of ecdsa-p256",)),
        (wanted(chosen={"profile": "short"}), ("profile short instead of default",)),
        (wanted(chosen={"required_profile": "short"}), ("profile short instead of default",)),
        (wanted(chosen={"csr": "33" * 32}), ("another certificate signing request",)),
        (
            wanted(chosen={"ca": "https://other.example/"}),
            (f"CA https://other.example/ instead of {CA}",),
        ),
    ],
)
def test_each_difference_is_a_phrase(spec: CertificateSpec, found: tuple[str, ...]) -> None:
    assert differences(spec, request_of(SPEC)) == found


def test_going_back_to_a_key_of_ones_own_is_a_difference() -> None:
    assert differences(SPEC, request_of(wanted(chosen={"csr": "33" * 32}))) == (
        "a private key managed by certctl instead of a signing request",
    )


def test_the_order_of_names_is_no_difference() -> None:
    assert (
        differences(wanted("a.example,b.example"), request_of(wanted("b.example,a.example"))) == ()
    )


@pytest.mark.parametrize(
    "chosen",
    [
        {"deploy.reload": "true"},
        {"reuse_key": True},
        {"preferred_chain": "Another Root"},
        {"challenge.http_port": 8080},
        {"autorenew": False},
    ],
)
def test_what_the_ca_was_not_asked_for_is_no_difference(chosen: dict[str, Value]) -> None:
    assert differences(wanted(chosen=chosen), request_of(SPEC)) == ()


def test_a_profile_that_was_preferred_and_is_required_now_is_a_difference() -> None:
    preferred = wanted(chosen={"profile": "short"})
    required = wanted(chosen={"required_profile": "short"})

    assert differences(required, request_of(preferred)) == ("profile short is now required",)
    assert differences(preferred, request_of(required)) == ()


def test_the_request_of_a_csr_has_no_key_type() -> None:
    digest = "33" * 32

    assert request_of(wanted(chosen={"csr": digest, "profile": "short"})) == Request(
        identifiers=SPEC.identifiers, key_type=None, ca=CA, profile="short", csr_sha256=digest
    )
    assert request_of(SPEC).key_type is KeyType.ECDSA_P256


# When to look again.


def test_a_healthy_certificate_is_left_alone_until_it_is_due() -> None:
    assert next_action(SPEC, status(LIVE), ISSUED) == renewal_time(LIVE)


def test_a_stopped_certificate_is_left_alone_for_ever() -> None:
    assert next_action(wanted(chosen={"autorenew": False}), status(LIVE), ISSUED) is None


def test_a_paused_certificate_is_left_alone_until_the_pause_is_over() -> None:
    renewal_state = RenewalState(paused_until=ISSUED + days(75))

    assert next_action(SPEC, status(LIVE, renewal_state), ISSUED) == ISSUED + days(75)


@pytest.mark.parametrize(
    "deployment",
    [Deployment(1, None), Deployment(2, 1), Deployment(2, 2), Deployment(1, None, retry_at=ISSUED)],
)
def test_an_owed_deploy_is_looked_at_in_every_run(deployment: Deployment) -> None:
    now = ISSUED + days(1)

    assert next_action(SPEC, status(LIVE, deployment=deployment), now) == now


def test_a_failure_is_looked_at_in_every_run_until_it_is_healed() -> None:
    now = ISSUED + days(61)
    renewal_state = after_failure(RenewalState(), CA, CertctlError("no"), now, LIVE.facts)

    assert next_action(SPEC, status(LIVE, renewal_state), now) == now
    healed = after_success(renewal_state, CA, now)
    assert next_action(SPEC, status(LIVE, healed), ISSUED) == renewal_time(LIVE)


def test_what_is_due_is_looked_at_at_once() -> None:
    at = next_action(SPEC, status(LIVE), ISSUED + days(80))

    assert at is not None
    assert at <= ISSUED + days(80)
