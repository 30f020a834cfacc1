"""Many certificates in one run: side by side, in batches, and stopped where a CA says no to all;
and certificates that are issued without some of their names.
"""

import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from certctl.engine.circuit_breaker import CircuitBreaker
from certctl.engine.parallel import in_parallel
from certctl.model.errors import CaUnavailable, RateLimited, UsageError, ValidationFailed
from certctl.model.events import CertificateFinished, Deployed, Event, RunStarted
from tests.lab.scripted_ca.faults import problem
from tests.lab.scripted_ca.settings import ALWAYS
from tests.support.operations import Machine

DAY = timedelta(days=1)
SUBSET = {"allow_subset": True}


def named(count: int) -> list[str]:
    return [f"n{number}.example" for number in range(count)]


# Side by side.


def test_many_are_renewed_in_one_run_each_once_over_few_connections(machine: Machine) -> None:
    for name in named(30):
        machine.issue(name)
    machine.pass_time(61 * DAY)
    orders, connections = machine.ca.count("new-order"), machine.ca.connections

    report = machine.renew()

    assert report.exit_status == 0
    assert [each.name for each in report.outcomes] == sorted(named(30))
    assert {machine.live(name).number for name in named(30)} == {2}
    assert machine.ca.count("new-order") - orders == 30
    assert machine.ca.connections - connections <= 8  # as many as the setting `jobs` says
    assert machine.renew().outcomes == ()


def test_a_run_says_what_it_will_do_and_how_each_ended(machine: Machine) -> None:
    for name in named(3):
        machine.issue(name)
    machine.ca.fail("n1.example")
    machine.pass_time(61 * DAY)
    machine.events.clear()

    machine.renew()

    started = [each for each in machine.events if isinstance(each, RunStarted)]
    ended = [each for each in machine.events if isinstance(each, CertificateFinished)]
    assert [(each.considered, each.due, each.undeployed) for each in started] == [(3, 3, 0)]
    assert sorted((each.name, each.action, each.code) for each in ended) == [
        ("n0.example", "issued", None),
        ("n1.example", "failed", "challenge.failed"),
        ("n2.example", "issued", None),
    ]


def test_what_came_of_deployments_is_saved_side_by_side(machine: Machine) -> None:
    for name in named(5):
        machine.issue(name)
    machine.pass_time(61 * DAY)
    machine.events = Witness()

    machine.renew()

    assert machine.events.by == dict.fromkeys(named(5), True)


class Witness(list[Event]):
    """Events, and whether those of deployments came from a thread of a pool."""

    def __init__(self) -> None:
        super().__init__()
        self.by: dict[str, bool] = {}

    def append(self, event: Event) -> None:
        super().append(event)
        if isinstance(event, Deployed):
            self.by[event.name] = threading.current_thread().name.startswith("certificate")


def test_the_most_urgent_come_first(machine: Machine) -> None:
    machine.flags["jobs"] = 1
    for name in ("late.example", "later.example"):
        machine.issue(name)
        machine.pass_time(10 * DAY)
    machine.issue("a.example")
    machine.pass_time(61 * DAY)
    machine.home.joinpath("certctl.toml").write_text("jobs = 1\n")
    before = machine.ca.count("new-order")

    machine.renew()

    sent = [each["identifiers"][0]["value"] for each in machine.ca.payloads("new-order")]
    assert sent[before:] == ["late.example", "later.example", "a.example"]


def test_an_order_that_waits_for_its_ca_keeps_no_other_from_being_placed(machine: Machine) -> None:
    machine.flags["jobs"] = 1
    for name in named(2):
        machine.issue(name)
    machine.pass_time(61 * DAY)
    machine.home.joinpath("certctl.toml").write_text("jobs = 1\n")
    before = machine.ca.count("new-order")

    def pending_until_the_other_is_placed(order: dict[str, Any]) -> None:
        if machine.ca.count("new-order") < before + 2:
            order["status"] = "pending"

    machine.ca.on("order", pending_until_the_other_is_placed, times=ALWAYS)

    report = machine.renew()

    assert [each.action for each in report.outcomes] == ["issued", "issued"]


@pytest.mark.parametrize("threads", [1, 4])
def test_what_has_not_begun_does_not_begin_after_an_error(threads: int) -> None:
    seen: list[int] = []

    def work(number: int) -> int:
        seen.append(number)
        time.sleep(0.001)
        if number == 3:
            raise UsageError("no")
        return number

    ended: list[int] = []
    with pytest.raises(UsageError):
        ended.extend(in_parallel(work, range(10_000), threads=threads))

    assert len(seen) < 10_000
    assert sorted([*ended, 3]) == sorted(seen)


# A CA that says no to all.


def test_after_three_refusals_that_hold_for_all_the_others_are_put_off(machine: Machine) -> None:
    machine.home.mkdir()
    machine.home.joinpath("certctl.toml").write_text("jobs = 1\n")
    for name in named(10):
        machine.issue(name)
    machine.pass_time(61 * DAY)
    before = machine.ca.count("new-order")
    machine.ca.script("new-order", problem("rateLimited", 429, retry_after=7200), times=3)

    report = machine.renew()

    assert report.exit_status == 6
    assert machine.ca.count("new-order") - before == 3
    assert {each.error.code for each in report.outcomes if isinstance(each.error, RateLimited)} == {
        "acme.rate_limited"
    }
    assert len(report.outcomes) == 10
    machine.pass_time(timedelta(hours=1))
    assert machine.renew().exit_status == 6
    assert machine.ca.count("new-order") - before == 3  # nothing is retried into a rate limit
    machine.pass_time(timedelta(hours=1, minutes=1))
    assert machine.renew().exit_status == 0


def test_the_circuit_breaker_counts_only_refusals_that_concern_every_certificate() -> None:
    breaker, ca = CircuitBreaker(), "https://ca.example/directory"
    for _ in range(9):
        breaker.record(ca, ValidationFailed("no answer"))
    assert breaker.error_if_open(ca) is None

    breaker.record(ca, CaUnavailable("down"))
    breaker.record(ca, CaUnavailable("down"))
    breaker.record(ca, None)
    breaker.record(ca, CaUnavailable("down"))
    assert breaker.error_if_open(ca) is None

    for _ in range(2):
        breaker.record(ca, CaUnavailable("down", retry_after=5))
    error = breaker.error_if_open(ca)
    assert isinstance(error, CaUnavailable)
    assert error.retry_after == 5
    assert breaker.error_if_open("https://other.example/directory") is None


# Fewer names than wanted.


def test_where_it_is_allowed_the_names_that_validate_are_issued(machine: Machine) -> None:
    machine.ca.fail("b.example")

    report = machine.issue("a.example", "b.example", "c.example", options=SUBSET)

    assert report.exit_status == 3
    assert [error.code for error in report.all_errors] == ["certificate.incomplete"]
    assert [each.value for each in machine.live("a.example").facts.identifiers] == [
        "a.example",
        "c.example",
    ]
    assert not machine.status("a.example").undeployed


def test_the_missing_names_are_tried_again_and_heal_by_themselves(machine: Machine) -> None:
    machine.ca.fail("b.example")
    machine.issue("a.example", "b.example", options=SUBSET)
    assert machine.renew().exit_status == 1  # it waits, and that counts
    machine.ca.failing.clear()
    machine.pass_time(timedelta(minutes=2))

    report = machine.renew()

    assert report.exit_status == 0
    assert len(machine.live("a.example").facts.identifiers) == 2
    assert machine.status("a.example").renewal_state.failures == 0
    assert machine.renew().outcomes == ()


def test_what_cannot_gain_a_name_orders_no_certificate(machine: Machine) -> None:
    machine.ca.fail("b.example")
    machine.issue("a.example", "b.example", options=SUBSET)
    machine.pass_time(timedelta(minutes=2))

    report = machine.renew()

    assert report.exit_status == 1
    assert machine.live("a.example").number == 1
    assert machine.ca.count("finalize") == 1


def test_a_name_that_is_served_is_not_given_up_before_the_last_moment(machine: Machine) -> None:
    machine.issue("a.example", "b.example", options=SUBSET)
    machine.ca.fail("b.example")
    machine.pass_time(61 * DAY)
    machine.renew()
    assert len(machine.live("a.example").facts.identifiers) == 2

    machine.pass_time(15 * DAY)
    report = machine.renew()

    assert report.exit_status == 3
    assert [each.value for each in machine.live("a.example").facts.identifiers] == ["a.example"]


def test_where_it_is_not_allowed_one_name_fails_all(machine: Machine) -> None:
    machine.ca.fail("b.example")

    report = machine.issue("a.example", "b.example")

    assert report.exit_status == 1
    assert machine.store.names() == []


def test_a_name_that_the_ca_rejects_beforehand_is_left_out_too(machine: Machine) -> None:
    subproblems = [
        {
            "type": "urn:ietf:params:acme:error:rejectedIdentifier",
            "detail": "policy",
            "identifier": {"type": "dns", "value": "b.example"},
        }
    ]
    machine.ca.script("new-order", problem("rejectedIdentifier", 400, subproblems=subproblems))

    report = machine.issue("a.example", "b.example", options=SUBSET)

    assert report.exit_status == 3
    assert [each.value for each in machine.live("a.example").facts.identifiers] == ["a.example"]
