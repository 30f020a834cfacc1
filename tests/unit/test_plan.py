"""What has to be done for a certificate: the steps of its plan."""

from dataclasses import replace
from datetime import timedelta

import pytest

from certctl.model.ca import RevocationReason
from certctl.model.certificate import (
    Afterwards,
    AriState,
    Attempts,
    LastError,
    PendingOrder,
    RenewalState,
    RevocationIntent,
)
from certctl.model.delivery import Deployment
from certctl.model.errors import UsageError
from certctl.rules.plan import (
    Activate,
    AskRenewalInfo,
    Delete,
    Deploy,
    Order,
    Revoke,
    SaveSpec,
    Step,
    StopRenewal,
    Wait,
    Wanted,
    deployment_again,
    plan,
)
from certctl.rules.renewal import latest_renewal, request_of
from certctl.rules.rollback_plan import rollback
from tests.support.nouns import ISSUED, LIVE, SPEC, days, issued, status, wanted

FRESH = ISSUED + days(1)
DUE = ISSUED + days(61)
FAILURE = Attempts(
    SPEC.ca,
    failures=2,
    last_error=LastError("acme.refused", "no", DUE - timedelta(minutes=5), "permanent"),
    retry_at=DUE + timedelta(minutes=5),
)
FAILED = RenewalState(attempts=(FAILURE,))
UNDEPLOYED = Deployment(wanted=1, deployed=None)
INTENT = RevocationIntent(1, "01", RevocationReason.UNSPECIFIED, Afterwards.REPLACE, FRESH)


def kinds(steps: tuple[Step, ...]) -> list[type[Step]]:
    return [type(each) for each in steps]


def test_a_certificate_that_is_as_it_should_be_needs_nothing() -> None:
    found = plan(Wanted(SPEC, SPEC), status(LIVE), FRESH)

    assert found.steps == ()
    assert found.decision is not None
    assert not found.decision.due


def test_one_that_is_due_is_ordered_and_deployed() -> None:
    found = plan(Wanted(SPEC, SPEC), status(LIVE), DUE)

    assert kinds(found.steps) == [Order, Deploy]
    assert found.steps[0].why == "a third of its lifetime is left"


def test_the_ca_is_asked_first_where_it_gives_renewal_windows() -> None:
    facts = replace(LIVE.facts, ari_id="a.b")
    live = replace(LIVE, certificates=(replace(LIVE.first, facts=facts),))

    asked = plan(Wanted(SPEC, SPEC), status(live), FRESH)
    by_hand = plan(Wanted(SPEC, SPEC, by_hand=True), status(live), FRESH)
    later = RenewalState(ari=(AriState("a.b", ask_at=FRESH + days(1)),))
    not_yet = plan(Wanted(SPEC, SPEC), status(live, later), FRESH)

    assert (kinds(asked.steps), by_hand.steps, not_yet.steps) == ([AskRenewalInfo], (), ())


@pytest.mark.parametrize("by_hand", [True, False])
def test_only_a_person_does_not_wait_after_a_failure(by_hand: bool) -> None:
    found = plan(Wanted(SPEC, SPEC, by_hand=by_hand), status(LIVE, FAILED), DUE)

    assert kinds(found.steps) == ([Order, Deploy] if by_hand else [Wait])


def test_an_order_waits_while_a_deployment_does_not() -> None:
    found = plan(Wanted(SPEC, SPEC), status(LIVE, FAILED, UNDEPLOYED), DUE)

    assert kinds(found.steps) == [Wait, Deploy]


def test_a_deployment_waits_for_its_own_next_attempt() -> None:
    waiting = replace(UNDEPLOYED, failures=1, retry_at=FRESH + timedelta(minutes=1))

    found = plan(Wanted(SPEC, SPEC), status(LIVE, deployment=waiting), FRESH)

    assert [(type(each), isinstance(each, Wait) and each.deployment) for each in found.steps] == [
        (Wait, True)
    ]


def test_what_is_forced_is_ordered_whatever_the_rules_say() -> None:
    found = plan(Wanted(SPEC, SPEC, force=True), status(LIVE, FAILED), FRESH)

    order = found.step(Order)
    assert order is not None
    assert (order.forced, order.why) == (True, "requested")


def test_a_request_that_failed_is_due_until_it_succeeds() -> None:
    over = replace(FAILURE, retry_at=FRESH - timedelta(minutes=1))
    requested = RenewalState(attempts=(over,), requested=FRESH)

    found = plan(Wanted(SPEC, SPEC), status(LIVE, requested), FRESH)

    assert kinds(found.steps) == [Order, Deploy]


@pytest.mark.parametrize(
    ("age", "steps"),
    [(timedelta(hours=24), [Order, Deploy]), (timedelta(hours=24, seconds=1), [])],
)
def test_an_order_under_way_is_finished_unless_it_is_older_than_a_day(
    age: timedelta, steps: list[type[Step]]
) -> None:
    pending = PendingOrder(request_of(SPEC), "https://ca.example/acct/1", FRESH - age, url="x")

    found = plan(Wanted(SPEC, SPEC, pending=(pending,)), status(LIVE), FRESH)

    assert kinds(found.steps) == steps


def test_an_order_for_other_names_is_not_taken_for_one_under_way() -> None:
    pending = PendingOrder(request_of(wanted("other.example")), "acct", FRESH, url="x")

    assert plan(Wanted(SPEC, SPEC, pending=(pending,)), status(LIVE), FRESH).steps == ()


def test_an_untrusted_certificate_is_refused_only_where_it_would_be_ordered() -> None:
    refusal = UsageError("not trusted")

    assert plan(Wanted(SPEC, SPEC, refusal=refusal), status(LIVE), FRESH).steps == ()
    with pytest.raises(UsageError, match="not trusted"):
        plan(Wanted(SPEC, SPEC, refusal=refusal), status(LIVE), DUE)


def test_changed_options_are_saved_and_deployed_only_if_they_concern_the_deployment() -> None:
    hooked = wanted(chosen={"deploy.reload": "true"})
    timed = wanted(chosen={"dns.propagation_timeout": 10.0})

    deployed = plan(Wanted(hooked, SPEC, by_hand=True), status(LIVE), FRESH)
    saved = plan(Wanted(timed, SPEC, by_hand=True), status(LIVE), FRESH)

    assert (kinds(deployed.steps), kinds(saved.steps)) == ([SaveSpec, Deploy], [SaveSpec])


def test_what_is_to_be_replaced_is_ordered_with_a_new_key_and_revoked_in_the_end() -> None:
    state = RenewalState(revocations=(INTENT,))

    found = plan(Wanted(SPEC, SPEC), status(LIVE, state), FRESH)

    order = found.step(Order)
    assert order is not None
    assert (order.new_key, order.strict) == (True, True)
    assert kinds(found.steps) == [Order, Deploy, Revoke]


def test_what_was_replaced_is_revoked_once_that_is_deployed() -> None:
    state, second = RenewalState(revocations=(INTENT,)), issued(SPEC, number=2)

    pending = plan(Wanted(SPEC, SPEC), status(second, state, Deployment(wanted=2)), FRESH)
    done = plan(Wanted(SPEC, SPEC), status(second, state), FRESH)

    assert (kinds(pending.steps), kinds(done.steps)) == ([Deploy, Revoke], [Revoke])


@pytest.mark.parametrize(
    ("afterwards", "steps"),
    [(Afterwards.DELETE, [Revoke, Delete]), (Afterwards.STOP, [StopRenewal, Revoke])],
)
def test_what_is_not_replaced_is_revoked_at_once(
    afterwards: Afterwards, steps: list[type[Step]]
) -> None:
    state = RenewalState(revocations=(replace(INTENT, afterwards=afterwards),))

    assert kinds(plan(Wanted(SPEC, SPEC), status(LIVE, state), FRESH).steps) == steps


def test_a_revocation_that_failed_waits_for_its_next_attempt() -> None:
    state = replace(FAILED, revocations=(INTENT,))

    assert kinds(plan(Wanted(SPEC, SPEC), status(LIVE, state), DUE).steps) == [Wait]


def test_a_deployment_is_repeated_unless_only_pending_ones_are() -> None:
    again = deployment_again(SPEC, status(LIVE), pending_only=False)
    pending = deployment_again(SPEC, status(LIVE), pending_only=True)
    undeployed = deployment_again(SPEC, status(LIVE, deployment=UNDEPLOYED), pending_only=True)

    assert [kinds(each.steps) for each in (again, pending, undeployed)] == [[Deploy], [], [Deploy]]


def test_a_rollback_activates_the_version_before_and_pauses_renewal() -> None:
    first, second = LIVE, issued(SPEC, number=2)

    found = rollback(SPEC, status(second), [first, second], None, FRESH)

    assert found.step(Activate) == Activate("rollback to version 1", first, latest_renewal(first))
    assert kinds(found.steps) == [Activate, Deploy]


@pytest.mark.parametrize(
    ("state", "number", "moment", "reason"),
    [
        (RenewalState(), 2, FRESH, "is already live"),
        (RenewalState(), 1, ISSUED + days(90), "expired"),
        (RenewalState(revoked=(1,)), 1, FRESH, "was revoked"),
        (RenewalState(compromised_keys=("22" * 32,)), 1, FRESH, "was compromised"),
        (RenewalState(), 7, FRESH, "has no version 7"),
    ],
)
def test_a_rollback_to_a_version_that_must_not_be_served_is_refused(
    state: RenewalState, number: int, moment: object, reason: str
) -> None:
    second = issued(SPEC, number=2)

    with pytest.raises(UsageError, match=reason):
        rollback(SPEC, status(second, state), [LIVE, second], number, moment)  # type: ignore[arg-type]
