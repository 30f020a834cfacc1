"""A clock that was ahead or behind for a while, and was set right: nothing stops in silence."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from certctl.inspection.check import Limits, check
from certctl.inspection.overview import overview
from certctl.rules.thresholds import parse_threshold
from tests.lab.scripted_ca.faults import problem, response, setting
from tests.support.operations import Machine, codes, lines

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
FUTURE = datetime(2037, 6, 8, tzinfo=UTC)
LIMITS = Limits(parse_threshold("1/4"), parse_threshold("1/6"), 2 * DAY)


def renewed_in_the_future(machine: Machine, to: datetime = FUTURE) -> None:
    """A run of `renew` fails while the clock is ahead; then the clock is set right."""
    now = machine.clock.now()
    machine.clock.set(to)
    machine.ca.script("new-order", problem("rejectedIdentifier", detail="not yours"))
    assert machine.renew(unattended=True).exit_status == 1
    machine.clock.set(now)


def problems(machine: Machine) -> list[str]:
    with machine.run() as run:
        return [each.code for each in check(run, (), LIMITS).problems]


def test_a_failure_while_the_clock_was_ahead_holds_no_renewal_back(machine: Machine) -> None:
    machine.issue("a.example")
    renewed_in_the_future(machine)
    assert machine.renew(unattended=True).exit_status == 0

    machine.pass_time(61 * DAY)
    machine.ca.script("new-order", problem("rejectedIdentifier", detail="not yours"))
    refused = machine.renew(unattended=True)
    machine.pass_time(2 * timedelta(minutes=1))
    report = machine.renew(unattended=True)

    assert (refused.exit_status, report.exit_status) == (1, 0)
    assert machine.live("a.example").number == 2


def test_a_deployment_that_failed_while_the_clock_was_ahead_is_tried_again(
    machine: Machine, tmp_path: Path
) -> None:
    reload = f"test -e {tmp_path}/ready"
    now = machine.clock.now()
    machine.clock.set(now + 30 * DAY)
    machine.issue("a.example", options={"deploy.reload": reload})
    machine.clock.set(now)
    (tmp_path / "ready").touch()

    report = machine.renew()

    assert (report.exit_status, machine.status("a.example").undeployed) == (0, False)


def test_an_alert_while_the_clock_was_ahead_silences_no_later_one(
    machine: Machine, tmp_path: Path
) -> None:
    machine.issue("a.example")
    hook = f"echo told >> {tmp_path}/told"
    (machine.home / "certctl.toml").write_text(f"on_failure_hook = {json.dumps(hook)}\n")
    renewed_in_the_future(machine)

    machine.pass_time(61 * DAY)
    machine.ca.script("new-order", problem("rejectedIdentifier", detail="not yours"))
    machine.renew(unattended=True)

    assert lines(tmp_path / "told") == ["told", "told"]


def test_a_run_that_is_dated_in_the_future_is_a_problem_until_the_next_run(
    machine: Machine,
) -> None:
    machine.issue("a.example")
    renewed_in_the_future(machine)
    found = problems(machine)
    machine.renew(unattended=True)

    assert (found, problems(machine)) == (["schedule.future"], [])


def test_that_renew_has_stopped_is_a_problem_even_after_a_run_in_the_future(
    machine: Machine,
) -> None:
    machine.issue("a.example")
    machine.renew(unattended=True)
    renewed_in_the_future(machine)
    machine.pass_time(3 * DAY)

    assert sorted(problems(machine)) == ["schedule.future", "schedule.idle"]


def test_a_clock_that_was_behind_for_a_run_changes_nothing(machine: Machine) -> None:
    machine.issue("a.example")
    machine.renew(unattended=True)
    now = machine.clock.now()
    machine.clock.set(datetime(1970, 1, 1, 0, 5, tzinfo=UTC))
    machine.renew(unattended=True)
    machine.clock.set(now + HOUR)

    report = machine.renew(unattended=True)

    assert (report.exit_status, problems(machine)) == (0, [])
    assert machine.ca.count("new-order") == 1


def test_a_certificate_from_a_ca_whose_clock_was_ahead_too_is_replaced(machine: Machine) -> None:
    now = machine.clock.now()
    machine.pass_time(400 * DAY)
    machine.issue("a.example")
    machine.pass_time(now - machine.clock.now())
    assert problems(machine) == ["certificate.not_yet_valid"]

    report = machine.renew()

    assert [(each.action, each.reason) for each in report.outcomes] == [
        ("issued", "it is not valid yet: it was issued while the clock was ahead")
    ]
    assert machine.live("a.example").facts.not_before <= now
    assert machine.renew().outcomes == ()


def test_an_order_from_the_future_is_not_resumed_for_ever(machine: Machine) -> None:
    now = machine.clock.now()
    machine.clock.set(FUTURE)
    machine.ca.script("finalize", response(503, "later"), times=20, when=lambda _: not set_right)
    set_right: list[bool] = []
    machine.issue("a.example")
    machine.clock.set(now)
    set_right.append(True)

    report = machine.issue("a.example")

    assert report.exit_status == 0
    assert [each.resumed for each in machine.happened("order.placed")] == [False, False]


# Failures of certificates that are not due.


def states(machine: Machine) -> list[tuple[str, int]]:
    with machine.run() as run:
        return [(each.state, each.failures) for each in overview(run)]


def test_a_forced_renewal_that_fails_is_tried_again_until_it_succeeds(machine: Machine) -> None:
    machine.issue("a.example")
    machine.ca.script("new-order", problem("rejectedIdentifier", detail="not yours"))

    report = machine.renew("a.example", force=True)

    assert (codes(report), states(machine)) == (["acme.refused"], [("failing", 1)])
    assert [each.name for each in machine.happened("run.failed")] == ["a.example"]
    assert [each.action for each in machine.renew().outcomes] == ["waiting"]
    machine.pass_time(timedelta(minutes=2))
    assert [each.action for each in machine.renew().outcomes] == ["issued"]
    assert states(machine) == [("valid", 0)]
    assert machine.renew("a.example").outcomes[0].action == "unchanged"


def test_a_renewal_that_was_requested_by_a_clock_ahead_is_not_tried_again(
    machine: Machine,
) -> None:
    machine.issue("a.example")
    now = machine.clock.now()
    machine.clock.set(now + 40 * DAY)
    machine.ca.script("new-order", problem("rejectedIdentifier", detail="not yours"))
    machine.renew("a.example", force=True)
    machine.clock.set(now)

    assert [each.action for each in machine.renew("a.example").outcomes] == ["unchanged"]
    assert states(machine) == [("valid", 0)]


def test_a_forced_renewal_that_was_left_processing_is_finished_by_the_next_run(
    machine: Machine,
) -> None:
    machine.issue("a.example")
    machine.ca.finalize_polls = 1
    slow = [True]
    machine.ca.on("order", setting(status="processing"), when=lambda _: slow[0])

    left = machine.renew("a.example", force=True)
    slow.clear()
    slow.append(False)
    machine.pass_time(timedelta(minutes=2))
    report = machine.renew()

    assert codes(left) == ["acme.order_timeout"]
    assert [each.action for each in report.outcomes] == ["issued"]
    assert machine.happened("order.placed")[-1].resumed


def test_a_change_that_fails_leaves_a_certificate_that_is_not_due_valid(machine: Machine) -> None:
    machine.issue("a.example")
    machine.ca.fail("b.example")

    report = machine.issue("a.example", "b.example", name="a.example", confirmed=True)

    assert (report.exit_status, states(machine)) == (1, [("valid", 0)])


def test_a_forced_renewal_of_a_due_certificate_that_fails_counts(machine: Machine) -> None:
    machine.issue("a.example")
    machine.pass_time(61 * DAY)
    machine.ca.script("new-order", problem("rejectedIdentifier", detail="not yours"))

    machine.renew("a.example", force=True)

    assert states(machine) == [("failing", 1)]
    assert machine.renew().exit_status == 1
