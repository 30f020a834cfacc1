"""The pace of one CA: rates that it documents, time that it asks for, and how it is eased."""

import pytest

from certctl.ca.problems import Resource
from certctl.ca.rate_limiter import Limiter, Rate
from certctl.errors import CaUnavailable, RateLimited
from tests.lab.clock import SteerableClock

ORDER, NONCE, ARI = Resource.NEW_ORDER, Resource.NEW_NONCE, Resource.RENEWAL_INFO


def limiter(clock: SteerableClock, **rates: Rate) -> Limiter:
    return Limiter(clock, {Resource[key]: rate for key, rate in rates.items()}, None)


def sent(limiter: Limiter, clock: SteerableClock, resource: Resource, count: int) -> list[float]:
    """When each of so many requests goes, in seconds from now, where one follows the other."""
    begun = clock.monotonic()
    moments = []
    for _ in range(count):
        clock.advance(limiter.reserve(resource))
        moments.append(round(clock.monotonic() - begun, 6))
    return moments


def test_a_ca_that_documents_nothing_is_asked_as_quickly_as_it_answers() -> None:
    clock = SteerableClock()

    assert sent(limiter(clock), clock, ORDER, 1000) == [0.0] * 1000


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    clock = SteerableClock()
    some = limiter(clock, NEW_NONCE=Rate(20, 10))

    moments = sent(some, clock, NONCE, 14)

    assert moments[:10] == [0.0] * 10
    assert moments[10:] == [0.05, 0.1, 0.15, 0.2]


def test_a_rest_gives_the_burst_back() -> None:
    clock = SteerableClock()
    some = limiter(clock, NEW_NONCE=Rate(20, 10))
    sent(some, clock, NONCE, 30)
    clock.advance(0.5)

    assert sent(some, clock, NONCE, 10) == [0.0] * 10


def test_places_that_are_taken_at_once_are_one_after_the_other() -> None:
    some = limiter(SteerableClock(), NEW_NONCE=Rate(20, 2))

    waits = [some.reserve(NONCE) for _ in range(5)]

    assert waits == pytest.approx([0.0, 0.0, 0.05, 0.1, 0.15])


def test_each_resource_has_its_own_rate_and_the_others_one_together() -> None:
    clock = SteerableClock()
    some = Limiter(clock, {NONCE: Rate(1, 1)}, Rate(10, 1))
    some.reserve(NONCE)

    assert some.reserve(Resource.ORDER) == 0.0
    assert some.reserve(Resource.AUTHORIZATION) == pytest.approx(0.1)
    assert some.reserve(NONCE) == pytest.approx(1.0)


def test_a_hold_is_for_all_resources_until_its_time_is_over() -> None:
    clock = SteerableClock()
    some = limiter(clock)
    error = CaUnavailable("busy", status=503, retry_after=30)
    some.record_refusal(ORDER, error)

    held = some.hold(Resource.CHALLENGE)
    assert held is not None
    assert (held.error, held.seconds) == (error, 30)
    clock.advance(29)
    assert some.hold(NONCE) is not None
    clock.advance(1)
    assert some.hold(NONCE) is None


def test_a_shorter_hold_does_not_end_a_longer_one() -> None:
    some = limiter(SteerableClock())
    some.record_refusal(ORDER, CaUnavailable("busy", status=503, retry_after=30))
    some.record_refusal(NONCE, CaUnavailable("busy", status=503, retry_after=3))

    held = some.hold(ORDER)
    assert held is not None
    assert held.seconds == 30


def test_renewal_information_has_holds_of_its_own() -> None:
    some = limiter(SteerableClock())
    some.record_refusal(ARI, CaUnavailable("busy", status=503, retry_after=86400))

    assert some.hold(ARI) is not None
    assert some.hold(ORDER) is None

    some.record_refusal(ORDER, CaUnavailable("busy", status=503, retry_after=60))
    held = some.hold(ARI)
    assert held is not None
    assert held.seconds == 86400


@pytest.mark.parametrize(
    "error",
    [
        RateLimited("too many orders", status=429, type="rateLimited", retry_after=3600),
        CaUnavailable("broken", status=500, retry_after=60),
        CaUnavailable("no answer"),
    ],
    ids=["a limit of the CA's own", "an error of the CA's", "no answer"],
)
def test_an_error_about_one_request_does_not_slow_down_others(error: CaUnavailable) -> None:
    clock = SteerableClock()
    some = limiter(clock)
    some.record_refusal(ORDER, error)

    assert some.hold(ORDER) is None
    assert sent(some, clock, ORDER, 3) == [0.0, 0.0, 0.0]


def test_refusals_put_a_distance_between_requests_and_successes_take_it_away() -> None:
    clock = SteerableClock()
    some = limiter(clock)
    busy = RateLimited("slow down", status=429)
    some.record_refusal(ORDER, busy)
    assert sent(some, clock, ORDER, 3) == [0.0, 0.1, 0.2]

    some.record_refusal(ORDER, busy)
    clock.advance(10)
    assert sent(some, clock, ORDER, 3) == [0.0, 0.2, 0.4]

    for _ in range(20):
        some.record_success()
    clock.advance(10)
    assert sent(some, clock, ORDER, 3) == [0.0, 0.0, 0.0]


def test_after_one_refusal_among_many_answers_the_pace_is_halved() -> None:
    clock = SteerableClock()
    some = limiter(clock)
    for _ in range(100):
        some.reserve(ORDER)
        clock.advance(0.01)
    some.record_refusal(ORDER, CaUnavailable("busy", status=503))

    assert sent(some, clock, ORDER, 3) == pytest.approx([0.0, 0.02, 0.04], abs=0.001)


def test_after_a_hold_requests_do_not_all_go_at_once() -> None:
    clock = SteerableClock()
    some = limiter(clock)
    some.record_refusal(ORDER, CaUnavailable("busy", status=503, retry_after=30))
    clock.advance(30)

    assert [some.reserve(ORDER) for _ in range(3)] == pytest.approx([0.0, 0.1, 0.2])
