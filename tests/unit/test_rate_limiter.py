"""The pace of one CA: rates that it documents, time that it asks for, and how it is eased."""

import heapq
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from certctl.ca.problems import Resource
from certctl.ca.rate_limiter import Limiter, Rate
from certctl.ca.retries import BUSY_BACKOFF
from certctl.model.errors import CaUnavailable, RateLimited
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


BUSY = CaUnavailable("busy", status=503)


def test_refusals_put_a_distance_between_requests_and_successes_take_it_away() -> None:
    clock = SteerableClock()
    some = limiter(clock)
    some.record_refusal(ORDER, RateLimited("slow down", status=429))
    assert sent(some, clock, ORDER, 3) == [0.0, 0.1, 0.2]

    clock.advance(10)
    for _ in range(110):
        some.record_success()
    assert sent(some, clock, ORDER, 3) == [0.0, 0.0, 0.0]


def test_a_burst_of_refusals_is_one_congestion_and_one_step_back() -> None:
    clock = SteerableClock()
    some = limiter(clock)
    begun = clock.monotonic()
    clock.advance(0.2)
    for _ in range(30):
        some.record_refusal(ORDER, BUSY, sent=begun)
    # Requests that were sent before the step back are refused later, for the same reason.
    clock.advance(5)
    some.record_refusal(ORDER, BUSY, sent=begun)

    assert sent(some, clock, ORDER, 3) == [0.0, 0.1, 0.2]


def test_a_refusal_of_what_was_sent_more_slowly_is_another_congestion() -> None:
    clock = SteerableClock()
    some = limiter(clock)
    some.record_refusal(ORDER, BUSY)
    clock.advance(2)
    for _ in range(5):
        some.record_success()
    some.record_refusal(ORDER, BUSY)

    rate = 10 * 1.03**5 * 0.7
    assert sent(some, clock, ORDER, 3) == pytest.approx([0.0, 1 / rate, 2 / rate], abs=0.001)


def test_a_step_back_is_to_four_fifths_of_what_was_answered_in_the_last_second() -> None:
    clock = SteerableClock()
    some = limiter(clock)
    some.record_refusal(ORDER, BUSY)
    clock.advance(2)
    for _ in range(13):
        some.record_success()
    some.record_refusal(ORDER, BUSY)

    # Not to 70 % of what was allowed, 10 * 1.03**13, which would be less.
    assert sent(some, clock, ORDER, 2) == pytest.approx([0.0, 1 / (13 * 0.8)], abs=0.0001)


def test_the_pace_is_never_slower_than_one_request_a_second() -> None:
    clock = SteerableClock()
    some = limiter(clock)
    for _ in range(20):
        some.record_refusal(ORDER, BUSY)
        clock.advance(2)

    assert sent(some, clock, ORDER, 3) == [0.0, 1.0, 2.0]


def test_the_pace_is_free_again_above_two_hundred_requests_a_second() -> None:
    clock = SteerableClock()
    some = limiter(clock)
    some.record_refusal(ORDER, BUSY)
    clock.advance(2)

    rate, found = 10.0, []
    while rate < 200:
        first, second = sent(some, clock, ORDER, 2)
        found.append(second - first)
        some.record_success()
        rate *= 1.03

    assert found[-1] == pytest.approx(1.03 / rate, abs=0.00001)
    assert 0 not in found
    clock.advance(1)
    assert sent(some, clock, ORDER, 2) == [0.0, 0.0]


def test_after_a_refusal_the_pace_is_a_little_below_what_the_ca_has_answered() -> None:
    clock = SteerableClock()
    some = limiter(clock)
    for _ in range(100):
        some.record_success()
        clock.advance(0.01)
    some.record_refusal(ORDER, BUSY)

    assert sent(some, clock, ORDER, 3) == pytest.approx([0.0, 1 / 80, 2 / 80], abs=0.001)


@dataclass
class BusyCa:
    """A CA that answers so many requests per second, and so many at once; and refuses some more at
    random.
    """

    rate: float
    burst: int
    at_random: float = 0.0
    _slot: float = 0.0
    _random: random.Random = field(default_factory=lambda: random.Random(1))

    def answers(self, now: float) -> bool:
        if self._random.random() < self.at_random:
            return False
        slot = max(self._slot, now)
        if slot - now > self.burst / self.rate:
            return False
        self._slot = slot + 1 / self.rate
        return True


def seconds_for(requests: int, ca: BusyCa, *, threads: int, latency: float) -> float:
    """How long so many requests take by so many threads, each of which repeats what is refused with
    the delays of the network layer. Raises StopIteration if one is refused too often.
    """
    clock = SteerableClock()
    some = limiter(clock)
    left = itertools.count(requests, -1)
    numbers = itertools.count()
    events: list[tuple[float, int, str, Iterator[float], float]] = []

    def happens(at: float, what: str, delays: Iterator[float], sent: float = 0.0) -> None:
        heapq.heappush(events, (at, next(numbers), what, delays, sent))

    def begin(at: float) -> None:
        if next(left) > 0:
            happens(at, "wanted", iter(BUSY_BACKOFF))

    for _ in range(threads):
        begin(0.0)
    while events:
        at, _, what, delays, moment = heapq.heappop(events)
        clock.advance(at - clock.monotonic())
        if what == "wanted":
            moment = at + some.reserve(ORDER)
            happens(moment + latency / 2, "arrived", delays, moment)
        elif what == "arrived":
            answer = "answered" if ca.answers(at) else "refused"
            happens(at + latency / 2, answer, delays, moment)
        elif what == "answered":
            some.record_success()
            begin(at)
        else:
            some.record_refusal(ORDER, BUSY, sent=moment)
            happens(at + next(delays), "wanted", delays)
    return clock.monotonic()


@pytest.mark.parametrize("latency", [0.005, 0.05, 0.3])
@pytest.mark.parametrize(
    ("ca", "longest"),
    [
        ((20, 20, 0), 15),
        ((20, 1, 0), 20),
        ((100, 50, 0), 5),
        ((5, 5, 0), 60),
        ((10_000, 10_000, 0.1), 20),
        ((10_000, 10_000, 0.2), 30),
    ],
    ids=["20/s", "20/s without a burst", "100/s", "5/s", "busy now and then", "often busy"],
)
def test_a_hundred_names_take_about_as_long_as_an_undocumented_limit_requires(
    ca: tuple[float, int, float], longest: float, latency: float
) -> None:
    assert seconds_for(210, BusyCa(*ca), threads=16, latency=latency) < longest


def test_no_more_requests_are_under_way_than_a_documented_burst_allows() -> None:
    clock = SteerableClock()

    found = [
        Limiter(clock, {}, rate).concurrent
        for rate in (None, Rate(250, 125), Rate(20, 20), Rate(1, 1))
    ]

    assert found == [16, 32, 16, 1]


def test_after_a_hold_requests_do_not_all_go_at_once() -> None:
    clock = SteerableClock()
    some = limiter(clock)
    some.record_refusal(ORDER, CaUnavailable("busy", status=503, retry_after=30))
    clock.advance(30)

    assert [some.reserve(ORDER) for _ in range(3)] == pytest.approx([0.0, 0.1, 0.2])
