"""Which of several CAs a certificate is ordered from, by what failed, when, and for which names."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.ca.directories import directory_urls
from certctl.model.ca import RevocationReason
from certctl.model.certificate import (
    Afterwards,
    AriState,
    Attempts,
    PendingOrder,
    RenewalInfo,
    RenewalState,
    RevocationIntent,
)
from certctl.model.errors import (
    AccountError,
    AccountPaused,
    AcmeError,
    BadResponse,
    CaUnavailable,
    CertctlError,
    CertificateNotFound,
    ConfigurationError,
    EabRequired,
    InspectionFailed,
    OrderFailed,
    OrderTimeout,
    PropagationTimeout,
    RateLimited,
    StoreError,
    TermsChanged,
    UsageError,
    ValidationFailed,
)
from certctl.model.spec import CertificateSpec
from certctl.model.status import CertificateStatus
from certctl.rules.fallback_ca import Choice, Tried, asked_from, choose, is_out_of_service
from certctl.rules.plan import Order, Wait, Wanted, plan
from certctl.rules.renewal import (
    after_failure,
    after_success,
    attempts,
    decide,
    in_backoff,
    last_error,
    request_of,
)
from tests.support.nouns import ISSUED, LIVE, SPEC, days, status, wanted, with_first

A, B, C = SPEC.ca, "https://b.example/directory", "https://c.example/directory"
TWO = replace(SPEC, fallback_cas=(B,))
THREE = replace(SPEC, fallback_cas=(B, C))
DUE = ISSUED + days(60)
HALF_WAY = ISSUED + days(75)
EXPIRED = ISSUED + days(91)
DOWN = CaUnavailable("cannot be reached")


ONE_DAY = days(1)


def failed(ca: str, error: CertctlError, at: datetime, pause: timedelta = ONE_DAY) -> Attempts:
    return Attempts(ca, 1, at, last_error(error, at), at + pause)


def choice(
    now: datetime,
    *before: Attempts,
    spec: CertificateSpec = TWO,
    now_failed: Mapping[str, CertctlError] | None = None,
    current: CertificateStatus | None = None,
    orders: tuple[PendingOrder, ...] = (),
    patient: bool = True,
) -> Choice:
    state = replace((current or status(LIVE)).renewal_state, attempts=before)
    tried = Tried(now_failed or {}, orders, timedelta(minutes=10), patient)
    return choose(spec, replace(current or status(LIVE), renewal_state=state), tried, now)


@pytest.mark.parametrize(
    "error",
    [
        CaUnavailable("down"),
        CaUnavailable("no connection", code="acme.unreachable"),
        RateLimited("too many orders"),
        OrderTimeout("still processing"),
        BadResponse("an HTML page"),
        CertificateNotFound("not there yet"),
        OrderFailed("the CA failed", type="serverInternal"),
    ],
)
def test_a_failure_of_the_ca_itself_lets_the_next_one_be_asked(error: CertctlError) -> None:
    assert is_out_of_service(error)
    assert choice(HALF_WAY, now_failed={A: error}) == Choice(B)


@pytest.mark.parametrize(
    "error",
    [
        ValidationFailed("404"),
        PropagationTimeout("not visible"),
        OrderFailed("invalid"),
        AcmeError("refused", type="rejectedIdentifier"),
        AcmeError("forbidden by CAA", type="caa"),
        AcmeError("not trusted", code="acme.tls"),
        AccountPaused("validations failed for weeks"),
        AccountError("deactivated"),
        TermsChanged("new terms"),
        EabRequired("binding"),
        InspectionFailed("another key"),
        ConfigurationError("no webroot"),
        UsageError("no such profile"),
        StoreError("disk full"),
    ],
)
def test_any_other_failure_keeps_the_next_ca_out_however_late_it_is(error: CertctlError) -> None:
    assert not is_out_of_service(error)
    assert choice(EXPIRED, now_failed={A: error}).ca is None
    assert choice(EXPIRED, failed(A, error, EXPIRED)).ca is None


def test_the_kind_of_a_failure_is_known_from_what_is_stored_too() -> None:
    assert is_out_of_service(last_error(RateLimited("later"), DUE))
    assert not is_out_of_service(last_error(ValidationFailed("404"), DUE))
    assert not is_out_of_service(None)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (DUE, Choice(None, HALF_WAY, HALF_WAY)),
        (HALF_WAY - timedelta(seconds=1), Choice(None, HALF_WAY, HALF_WAY)),
        (HALF_WAY, Choice(B)),
        (EXPIRED, Choice(B)),
    ],
)
def test_the_next_ca_is_asked_half_way_between_renewal_and_expiry(
    now: datetime, expected: Choice
) -> None:
    assert choice(now, now_failed={A: DOWN}, patient=False) == expected


def test_without_a_certificate_the_next_ca_is_asked_at_once() -> None:
    assert choice(DUE, now_failed={A: DOWN}, current=status(None)) == Choice(B)


@pytest.mark.parametrize(
    "current",
    [
        status(LIVE, RenewalState(revoked=(LIVE.number,))),
        status(LIVE, RenewalState(compromised_keys=(LIVE.facts.key_sha256,))),
        replace(status(LIVE), damage="privkey.pem is missing"),
        status(
            LIVE,
            RenewalState(
                revocations=(
                    RevocationIntent(
                        LIVE.number, "1", RevocationReason.UNSPECIFIED, Afterwards.REPLACE, DUE
                    ),
                )
            ),
        ),
        status(
            LIVE,
            RenewalState(
                ari=(
                    AriState(
                        LIVE.facts.ari_id,
                        RenewalInfo(ISSUED, ISSUED + days(1), ISSUED, withdrawn=True),
                    ),
                )
            ),
        ),
    ],
    ids=["revoked", "compromised", "damaged", "to be revoked", "withdrawn"],
)
def test_a_certificate_that_must_not_be_served_does_not_wait(current: CertificateStatus) -> None:
    assert choice(ISSUED + days(2), now_failed={A: DOWN}, current=current) == Choice(B)


def test_a_name_that_nothing_is_served_for_does_not_wait() -> None:
    more = replace(TWO, identifiers=(*TWO.identifiers, *wanted("new.example").identifiers))

    assert choice(ISSUED + days(2), spec=more, now_failed={A: DOWN}) == Choice(B)


def test_the_time_suggested_by_the_ca_is_the_time_of_renewal() -> None:
    chosen = ISSUED + days(30)
    info = RenewalInfo(chosen - days(1), chosen + days(1), chosen)
    current = status(LIVE, RenewalState(ari=(AriState(LIVE.facts.ari_id, info),)))

    assert asked_from(TWO, current, chosen) == chosen + (LIVE.facts.not_after - chosen) / 2


def test_each_ca_has_its_own_backoff() -> None:
    a, b = failed(A, DOWN, HALF_WAY, days(2)), failed(B, DOWN, HALF_WAY, days(1))
    later = HALF_WAY + timedelta(hours=1)

    assert choice(later, a) == Choice(B)
    assert choice(later, b) == Choice(A)
    assert choice(later, a, b) == Choice(None, HALF_WAY + days(1))
    assert choice(later, a, b, spec=THREE) == Choice(C)
    assert choice(HALF_WAY + days(1), a, b) == Choice(B)
    assert choice(HALF_WAY + days(2), a, b) == Choice(A)


def test_a_failed_validation_at_the_second_ca_ends_the_search() -> None:
    answers = {A: DOWN, B: ValidationFailed("404")}

    assert choice(EXPIRED, spec=THREE, now_failed=answers).ca is None


def test_no_ca_is_asked_twice_in_a_run() -> None:
    answers = {A: DOWN, B: DOWN, C: DOWN}

    assert choice(EXPIRED, spec=THREE, now_failed=answers, patient=False) == Choice(None)


@pytest.mark.parametrize(
    ("age", "error", "expected"),
    [
        (timedelta(minutes=1), DOWN, None),
        (timedelta(minutes=10), DOWN, B),
        (timedelta(minutes=1), OrderTimeout("its time is over"), B),
    ],
)
def test_an_order_that_may_still_be_finished_in_time_is_waited_for(
    age: timedelta, error: CertctlError, expected: str | None
) -> None:
    order = PendingOrder(request_of(SPEC), "acct", EXPIRED - age, url="https://a.example/order/1")

    assert choice(EXPIRED, now_failed={A: error}, orders=(order,)).ca == expected


def test_an_order_that_the_ca_never_accepted_is_not_waited_for() -> None:
    order = PendingOrder(request_of(SPEC), "acct", EXPIRED)

    assert choice(EXPIRED, now_failed={A: DOWN}, orders=(order,)) == Choice(B)


def test_one_ca_is_chosen_as_ever() -> None:
    waiting = failed(A, DOWN, EXPIRED)

    assert choice(EXPIRED, spec=SPEC) == Choice(A)
    assert choice(EXPIRED, waiting, spec=SPEC) == Choice(None, waiting.retry_at)
    assert choice(EXPIRED, waiting, spec=SPEC, patient=False) == Choice(A)


def test_a_plan_names_the_ca_and_asks_it_for_the_whole_specification() -> None:
    found = plan(Wanted(TWO, TWO, failed={A: DOWN}), status(LIVE), HALF_WAY)

    order = found.step(Order)
    assert order is not None
    assert (order.spec, order.asked.ca, order.asked.cas) == (TWO, B, (B,))


def test_a_plan_waits_for_the_first_of_all_times() -> None:
    waiting = RenewalState(attempts=(failed(A, DOWN, HALF_WAY - days(1), days(3)),))

    found = plan(Wanted(TWO, TWO), status(LIVE, waiting), HALF_WAY - timedelta(hours=1))

    step = found.step(Wait)
    assert step is not None
    assert (step.until, found.next_ca_at) == (HALF_WAY, HALF_WAY)


def test_a_certificate_of_the_second_ca_is_no_difference() -> None:
    of_b = with_first(LIVE, request=replace(LIVE.request, ca=B))

    assert not decide(TWO, status(of_b), ISSUED + days(1)).due
    assert not decide(replace(TWO, ca=B, fallback_cas=(A,)), status(of_b), ISSUED + days(1)).due
    assert decide(SPEC, status(of_b), ISSUED + days(1)).reason == "changed"


def test_after_a_success_the_first_ca_is_asked_again_and_its_error_is_remembered() -> None:
    state = after_failure(RenewalState(), A, DOWN, HALF_WAY, LIVE.facts)
    state = after_success(state, B, HALF_WAY, skipped=(A,))

    assert (state.failures, state.last_error) == (0, None)
    assert attempts(state, A).last_error is not None
    assert not in_backoff(attempts(state, A), HALF_WAY)
    assert choose(TWO, status(LIVE, state), Tried({}), HALF_WAY) == Choice(A)


def test_an_order_that_another_ca_replaced_is_not_resumed() -> None:
    made = with_first(LIVE, request=replace(LIVE.request, ca=B))
    left = PendingOrder(request_of(SPEC), "acct", ISSUED - timedelta(hours=1), url="x")

    found = plan(Wanted(TWO, TWO, pending=(left,)), status(made), ISSUED + timedelta(hours=2))

    assert found.steps == ()


_TIMES = st.integers(0, 100 * 24).map(lambda hours: ISSUED + timedelta(hours=hours))
_ERRORS = st.sampled_from([DOWN, RateLimited("later"), ValidationFailed("404"), UsageError("no")])


@given(
    now=_TIMES,
    before=st.dictionaries(st.sampled_from([A, B, C]), st.tuples(_TIMES, _ERRORS)),
    in_run=st.dictionaries(st.sampled_from([A, B, C]), _ERRORS),
    patient=st.booleans(),
)
def test_whatever_happened_the_rules_hold(
    now: datetime,
    before: Mapping[str, tuple[datetime, CertctlError]],
    in_run: Mapping[str, CertctlError],
    patient: bool,
) -> None:
    state = tuple(failed(ca, error, at) for ca, (at, error) in before.items())

    found = choice(now, *state, spec=THREE, now_failed=in_run, patient=patient)

    assert found.ca not in in_run
    for ca in THREE.cas[: THREE.cas.index(found.ca)] if found.ca else ():
        error = in_run.get(ca) or before[ca][1]
        assert is_out_of_service(error)
        assert now >= HALF_WAY
    if found.again is not None:
        assert found.ca is None
        assert found.again > now


@pytest.mark.parametrize(
    "texts",
    [
        ("letsencrypt", "letsencrypt"),
        ("letsencrypt", "https://acme-v02.api.letsencrypt.org/directory"),
        ("https://CA.example/dir", "https://ca.example:443/dir"),
        ("https://ca.example/dir", "https://ca.example/dir/"),
        ("https://ca.example./dir", "https://ca.example/dir"),
    ],
)
def test_a_ca_is_recognized_in_each_spelling(texts: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="is given twice"):
        directory_urls(texts)


@pytest.mark.parametrize(
    "texts",
    [
        ("letsencrypt", "https://ca.internal/directory"),
        ("https://ca.internal/directory", "zerossl"),
        ("letsencrypt", "letsencrypt-staging"),
        ("letsencrypt-staging", "https://ca.internal/directory"),
        ("letsencrypt", "dev"),
        ("dev", "https://ca.internal/directory"),
        ("letsencrypt", "zerossl", "dev"),
    ],
)
def test_cas_of_another_standing_do_not_mix(texts: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="cannot take the place"):
        directory_urls(texts)


@pytest.mark.parametrize(
    "texts",
    [
        ("letsencrypt", "zerossl", "google"),
        ("https://a.internal/directory", "https://b.internal/directory"),
        ("https://a.internal/one", "https://a.internal/two"),
        ("https://a.internal:14000/dir", "https://a.internal:14001/dir"),
    ],
)
def test_cas_of_the_same_standing_are_kept_in_their_order(texts: tuple[str, ...]) -> None:
    assert len(directory_urls(texts)) == len(texts)
    assert directory_urls(texts)[0] == directory_urls(texts[:1])[0]
