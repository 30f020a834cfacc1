"""`renew`: what is due and when, what a failure means for the next run, and that idle is idle."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from certctl.engine.run import Run
from certctl.inspection.overview import overview
from certctl.model.errors import UnknownCertificate
from tests.lab.scripted_ca.faults import problem, response
from tests.support.operations import Machine

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def everything_below(directory: Path) -> dict[str, tuple[int, int]]:
    """Each path with its time of change and its inode: equal only where nothing was written."""
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_ino) for path in directory.rglob("*")
    }


# -- idle


def test_an_idle_run_asks_nobody_and_writes_nothing(machine: Machine) -> None:
    for name in ("a.example", "b.example"):
        machine.issue(name)
    machine.renew()
    requests, before = machine.ca.count(), everything_below(machine.home)

    report = machine.renew()

    assert (report.exit_status, report.outcomes, report.considered) == (0, (), 2)
    assert machine.ca.count() == requests
    assert everything_below(machine.home) == before


def possibly_due(run: Run, now: datetime) -> list[str]:
    """What the records or this machine may have work for."""
    records, here = run.services.records, run.services.machine
    return sorted({*records.due(now), *here.due(records.names(), now)})


def test_right_after_an_issuance_there_is_nothing_to_look_at(machine: Machine) -> None:
    machine.issue("a.example")

    with machine.run() as run:
        busy = possibly_due(run, machine.clock.now())

    assert busy == []


def test_the_next_action_is_the_moment_when_a_third_is_left(machine: Machine) -> None:
    machine.issue("a.example")
    facts = machine.live("a.example").facts
    moment = facts.not_after - facts.lifetime / 3

    with machine.run() as run:
        just_before = possibly_due(run, moment - timedelta(seconds=1))
        at_last = possibly_due(run, moment)

    assert (just_before, at_last) == ([], ["a.example"])


# -- due


@pytest.mark.parametrize(
    ("lifetime", "part"), [(90 * DAY, 2 / 3), (160 * HOUR, 1 / 2)], ids=["90 days", "160 hours"]
)
def test_a_certificate_is_renewed_once_its_time_has_come_and_not_before(
    machine: Machine, lifetime: timedelta, part: float
) -> None:
    machine.ca.lifetime = lifetime
    machine.issue("a.example")
    begin = machine.live("a.example").facts.not_before
    to_go = begin + lifetime * part - machine.clock.now()

    machine.pass_time(to_go - MINUTE)
    assert machine.renew().outcomes == ()
    machine.pass_time(2 * MINUTE)
    report = machine.renew()

    assert (report.exit_status, report.outcomes[0].action) == (0, "issued")
    assert machine.live("a.example").number == 2
    assert machine.renew().outcomes == ()


def test_a_spec_edited_by_hand_is_due_as_changed(machine: Machine) -> None:
    machine.issue("a.example")
    spec = machine.spec_file("a.example")
    spec.write_text(spec.read_text().replace('["a.example"]', '["a.example", "b.example"]'))

    report = machine.renew()

    assert report.exit_status == 0
    assert "adds b.example" in (report.outcomes[0].reason or "")
    assert len(machine.live("a.example").facts.identifiers) == 2


def test_a_default_changed_in_the_file_reaches_every_certificate_without_a_choice(
    machine: Machine,
) -> None:
    machine.issue("a.example")
    machine.issue("b.example", options={"key_type": "ecdsa-p256"})
    (machine.home / "certctl.toml").write_text('key_type = "ecdsa-p384"\n')

    report = machine.renew()

    assert [(one.name, one.action) for one in report.outcomes] == [
        ("a.example", "issued"),
        ("b.example", "unchanged"),
    ]
    assert machine.live("a.example").facts.key_type == "ecdsa-p384"


def test_a_stopped_certificate_is_left_alone_even_when_it_expires(machine: Machine) -> None:
    machine.issue("a.example")
    spec = machine.spec_file("a.example")
    spec.write_text("autorenew = false\n" + spec.read_text())
    machine.renew()
    requests = machine.ca.count()

    machine.pass_time(100 * DAY)
    report = machine.renew()

    assert (report.exit_status, report.outcomes) == (0, ())
    assert machine.ca.count() == requests


def test_force_renews_what_is_named_and_a_stopped_one_only_then(machine: Machine) -> None:
    machine.issue("a.example")
    machine.issue("b.example")
    spec = machine.spec_file("b.example")
    spec.write_text("autorenew = false\n" + spec.read_text())

    machine.renew(force=True)
    assert (machine.live("a.example").number, machine.live("b.example").number) == (2, 1)
    machine.renew("b.example", force=True)

    assert (machine.live("a.example").number, machine.live("b.example").number) == (2, 2)


def test_a_name_that_is_not_there_is_an_error_with_the_nearest_one(machine: Machine) -> None:
    machine.issue("a.example")

    with pytest.raises(UnknownCertificate) as error:
        machine.renew("a.exampel")

    assert error.value.hint == "Did you mean a.example?"


def test_a_random_delay_is_waited_for_only_where_something_is_due(machine: Machine) -> None:
    machine.issue("a.example")
    machine.environment["CERTCTL_RANDOM_DELAY"] = "1h"
    before = len(machine.clock.waits)

    machine.renew(unattended=True)
    idle = machine.clock.waits[before:]
    machine.pass_time(61 * DAY)
    machine.renew(unattended=True)

    assert idle == []
    assert 0 < machine.clock.waits[before] < 3600
    assert machine.live("a.example").number == 2


def test_a_dry_run_at_a_ca_without_staging_changes_no_certificate_and_says_so(
    machine: Machine,
) -> None:
    machine.issue("a.example")
    machine.renew()
    before = everything_below(machine.home / "archive")

    report = machine.renew(dry_run=True)

    (outcome,) = report.outcomes
    assert (report.exit_status, outcome.action) == (0, "dry-run")
    assert "has no staging directory" in str(outcome.reason)
    assert everything_below(machine.home / "archive") == before


# -- failures


def due_and_failing(machine: Machine, *names: str) -> None:
    for name in names:
        machine.issue(name)
    machine.pass_time(61 * DAY)
    for name in names:
        machine.ca.fail(name)


def test_failures_are_tried_again_after_a_minute_then_ten_then_a_hundred_then_daily(
    machine: Machine,
) -> None:
    due_and_failing(machine, "a.example")
    machine.renew()
    tried = []

    for pause in (MINUTE, 10 * MINUTE, 100 * MINUTE, DAY, DAY):
        orders = machine.ca.count("new-order")
        machine.pass_time(pause - MINUTE / 2)
        machine.renew()
        too_early = machine.ca.count("new-order") - orders
        machine.pass_time(MINUTE)
        machine.renew()
        tried.append((too_early, machine.ca.count("new-order") - orders))

    assert tried == [(0, 1)] * 5
    assert machine.status("a.example").renewal_state.failures == 6


def test_a_failure_that_waits_still_counts_and_costs_no_request(machine: Machine) -> None:
    due_and_failing(machine, "a.example")
    assert machine.renew().exit_status == 1
    requests = machine.ca.count()

    report = machine.renew()

    assert (report.exit_status, report.outcomes[0].action) == (1, "waiting")
    (error,) = report.all_errors
    assert (error.code, error.name) == ("challenge.failed", "a.example")
    assert machine.ca.count() == requests


def test_force_does_not_wait_and_a_success_heals(machine: Machine) -> None:
    due_and_failing(machine, "a.example")
    machine.renew()
    machine.ca.failing.clear()

    report = machine.renew("a.example", force=True)

    assert report.exit_status == 0
    renewal_state = machine.status("a.example").renewal_state
    assert (renewal_state.failures, renewal_state.last_error, renewal_state.retry_at) == (
        0,
        None,
        None,
    )
    assert machine.renew().outcomes == ()


def test_what_the_ca_says_about_when_to_come_again_outlives_the_run(machine: Machine) -> None:
    due_and_failing(machine, "a.example")
    machine.ca.failing.clear()
    machine.ca.script("new-order", problem("rateLimited", 429, retry_after=6 * 3600))

    first = machine.renew()
    machine.pass_time(5 * HOUR)
    waiting = machine.renew()
    machine.pass_time(2 * HOUR)
    last = machine.renew()

    assert [one.exit_status for one in (first, waiting, last)] == [6, 6, 0]
    assert machine.ca.count("new-order") == 3


def test_no_certificate_expires_unattempted_whatever_the_ca_says(machine: Machine) -> None:
    due_and_failing(machine, "a.example")
    machine.ca.failing.clear()
    machine.ca.script("new-order", problem("rateLimited", 429, retry_after=365 * 86400))
    machine.renew()

    retry_at = machine.status("a.example").renewal_state.retry_at

    assert retry_at is not None
    assert retry_at < machine.live("a.example").facts.not_after


def test_one_failure_never_stops_the_others(machine: Machine) -> None:
    due_and_failing(machine, "a.example", "b.example", "c.example")
    del machine.ca.failing["a.example"], machine.ca.failing["c.example"]

    report = machine.renew()

    assert report.exit_status == 3
    assert {one.name: one.action for one in report.outcomes} == {
        "a.example": "issued",
        "b.example": "failed",
        "c.example": "issued",
    }
    assert machine.live("b.example").number == 1
    assert [machine.status(one).undeployed for one in ("a.example", "c.example")] == [False, False]


def test_where_all_fail_that_is_no_partial_success(machine: Machine) -> None:
    due_and_failing(machine, "a.example", "b.example")

    assert machine.renew().exit_status == 1


def test_a_rate_limit_for_all_says_later(machine: Machine) -> None:
    due_and_failing(machine, "a.example", "b.example")
    machine.ca.script("new-order", problem("rateLimited", 429, retry_after=3600), times=2)

    assert machine.renew().exit_status == 6


def test_an_outage_says_later_and_the_old_version_stays(machine: Machine) -> None:
    machine.issue("a.example")
    machine.pass_time(61 * DAY)
    machine.ca.script("directory", response(503, "<html>later</html>"), times=8)

    report = machine.renew()

    assert report.exit_status == 6
    assert [error.code for error in report.all_errors] == ["acme.unavailable"]
    assert machine.live("a.example").number == 1


def test_a_failure_that_is_no_longer_due_is_forgotten(machine: Machine) -> None:
    machine.issue("a.example")
    spec = machine.spec_file("a.example")
    before = spec.read_text()
    spec.write_text(before.replace('["a.example"]', '["a.example", "b.example"]'))
    machine.ca.fail("b.example")
    machine.renew()

    spec.write_text(before)
    report = machine.renew()

    assert report.exit_status == 0
    with machine.run() as run:
        (view,) = overview(run)
    assert (view.state, view.last_error) == ("valid", None)
    assert machine.renew().outcomes == ()


# -- what stands in the way of one certificate


def test_an_unreadable_spec_is_reported_and_stops_no_other(machine: Machine) -> None:
    machine.issue("a.example")
    machine.issue("b.example")
    machine.spec_file("a.example").write_text('names = ["a.example"]\nkey_tipe = "x"\n')
    machine.pass_time(61 * DAY)

    report = machine.renew()

    assert report.exit_status == 2
    (error,) = report.all_errors
    assert (error.name, error.hint) == ("a.example", "Did you mean key_type?")
    assert machine.live("b.example").number == 2


def test_a_busy_name_is_skipped_and_that_is_no_failure(machine: Machine) -> None:
    machine.issue("a.example")
    machine.issue("b.example")
    machine.pass_time(61 * DAY)

    with machine.store.lock("a.example", timeout=0):
        report = machine.renew()

    assert report.exit_status == 0
    assert [(one.name, one.action) for one in report.outcomes] == [
        ("a.example", "busy"),
        ("b.example", "issued"),
    ]
    assert [one.name for one in machine.happened("run.skipped")] == ["a.example"]


def test_a_target_that_is_gone_stops_no_other(machine: Machine) -> None:
    machine.issue("a.example")
    machine.issue("b.example")
    deployment = machine.status("a.example").deployment
    machine.store.save_deployment("a.example", replace(deployment, wanted=7))
    machine.pass_time(61 * DAY)

    report = machine.renew()

    assert report.exit_status == 0
    assert machine.live("b.example").number == 2
    assert not machine.status("a.example").undeployed


def test_the_first_run_after_a_failed_first_issue_has_nothing_to_do(machine: Machine) -> None:
    machine.ca.fail("a.example")
    machine.issue("a.example")

    report = machine.renew()

    assert (report.exit_status, report.considered) == (0, 0)


def test_a_wish_written_by_hand_is_fulfilled(machine: Machine) -> None:
    machine.issue("a.example")
    wish = machine.spec_file("a.example").read_text().replace("a.example", "b.example")
    machine.spec_file("b.example").write_text(wish)

    report = machine.renew()

    assert report.exit_status == 0
    assert machine.live("b.example").number == 1


def test_stopped_between_two_certificates_it_ends_with_130_and_says_so(machine: Machine) -> None:
    machine.issue("a.example")
    machine.issue("b.example")
    machine.pass_time(61 * DAY)
    machine.stop.set()

    report = machine.renew()

    assert report.exit_status == 130
    assert [error.code for error in report.all_errors] == ["interrupted"]
