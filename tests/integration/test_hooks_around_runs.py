"""Pre and post hooks: once around all that a run orders, and never one without the other."""

from datetime import timedelta
from pathlib import Path

from certctl.ca.directories import directory_url
from tests.lab.scripted_ca.faults import calls
from tests.support.operations import Machine, executable, lines, noting, reached_at

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def entries(machine: Machine) -> list[str]:
    directory = machine.home / "journal"
    return [one.name for one in directory.iterdir()] if directory.exists() else []


def test_they_surround_the_order_and_nothing_stays_in_the_journal(
    machine: Machine, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"

    report = machine.issue(
        "a.example",
        options={
            "deploy.pre_hook": noting(seen, "pre"),
            "deploy.deploy_hook": noting(seen, "deploy"),
            "deploy.post_hook": noting(seen, "post $RENEWED_DOMAINS"),
        },
    )

    assert report.exit_status == 0
    assert lines(seen) == ["pre", "deploy", "post a.example"]
    assert entries(machine) == []


def test_each_distinct_one_runs_once_a_run(machine: Machine, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    for name, word in (("a.example", "nginx"), ("b.example", "nginx"), ("c.example", "apache")):
        options = {"deploy.pre_hook": noting(seen, f"stop {word}")}
        options["deploy.post_hook"] = noting(seen, f"start {word}")
        machine.issue(name, options=options)
    seen.unlink()

    machine.renew(force=True)

    assert lines(seen) == ["stop nginx", "stop apache", "start nginx", "start apache"]


def test_those_of_the_directories_come_first(machine: Machine, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    for event in ("pre", "post"):
        for name in ("1", "2", "3~"):
            executable(
                machine.home / "hooks" / f"{event}.d" / name, f"echo {event} {name} >> {seen}"
            )

    machine.issue("a.example", options={"deploy.pre_hook": noting(seen, "own pre")})

    assert lines(seen) == ["pre 1", "pre 2", "own pre", "post 1", "post 2"]


def test_a_run_that_orders_nothing_runs_none(machine: Machine, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    options = {"deploy.pre_hook": noting(seen, "pre"), "deploy.post_hook": noting(seen, "post")}
    machine.issue("a.example", options=options)
    seen.unlink()

    machine.renew()
    machine.issue("a.example", options=options)

    assert lines(seen) == []


def test_a_dry_run_runs_them_too(machine: Machine, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    machine.endpoints = {directory_url("letsencrypt-staging"): reached_at(machine.ca)}
    options = {
        "ca": "letsencrypt",
        "deploy.pre_hook": noting(seen, "pre"),
        "deploy.post_hook": noting(seen, "post"),
    }

    machine.issue("a.example", options=options, dry_run=True)

    assert lines(seen) == ["pre", "post"]


def test_the_post_hook_is_told_what_failed(machine: Machine, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    hook = noting(seen, "renewed $RENEWED_DOMAINS failed $FAILED_DOMAINS")
    for name in ("a.example", "b.example"):
        machine.issue(name, options={"deploy.post_hook": hook})
    seen.unlink()
    machine.ca.fail("b.example")

    report = machine.renew(force=True)

    assert report.exit_status == 3
    assert lines(seen) == ["renewed a.example failed b.example"]


def test_a_failing_pre_hook_refuses_only_the_certificates_that_want_it(
    machine: Machine, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    machine.issue("a.example", options={"deploy.pre_hook": f"test ! -e {tmp_path}/broken"})
    machine.issue("b.example", options={"deploy.post_hook": noting(seen, "post")})
    (tmp_path / "broken").touch()
    orders = machine.ca.count("new-order")

    report = machine.renew(force=True)

    assert report.exit_status == 3
    assert {one.name: one.action for one in report.outcomes} == {
        "a.example": "failed",
        "b.example": "issued",
    }
    assert [error.code for error in report.all_errors] == ["hook.failed"]
    assert machine.ca.count("new-order") == orders + 1
    assert machine.status("a.example").renewal_state.failures == 1
    assert lines(seen) == ["post", "post"]


def test_a_failing_pre_hook_of_the_directory_refuses_all_and_post_follows(
    machine: Machine, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    machine.issue("a.example", options={"deploy.post_hook": noting(seen, "post")})
    executable(machine.home / "hooks" / "pre.d" / "check", "exit 1")

    report = machine.renew(force=True)

    assert (report.exit_status, report.outcomes[0].action) == (1, "failed")
    assert machine.live("a.example").number == 1
    assert lines(seen) == ["post", "post"]


def test_a_failing_post_hook_is_reported_and_run_again_by_the_next_run(
    machine: Machine, tmp_path: Path
) -> None:
    broken, seen = tmp_path / "broken", tmp_path / "seen"
    broken.touch()

    first = machine.issue(
        "a.example", options={"deploy.post_hook": f"{noting(seen, 'post')}; test ! -e {broken}"}
    )
    still = machine.renew()
    broken.unlink()
    last = machine.renew()

    assert [one.exit_status for one in (first, still, last)] == [1, 1, 0]
    assert [error.code for error in still.all_errors] == ["hook.failed"]
    assert lines(seen) == ["post"] * 3
    assert machine.live("a.example").number == 1
    assert entries(machine) == []


def test_an_owed_post_hook_that_fails_again_is_run_once_in_a_run_that_has_work(
    machine: Machine, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    post = f"{noting(seen, 'post')}; exit 1"
    machine.issue("a.example", options={"deploy.post_hook": post})
    seen.unlink()

    machine.renew(force=True)

    # what the first run left undone, and what this run's own order is followed by
    assert lines(seen) == ["post", "post"]


def test_owed_post_hooks_are_run_once_however_many_runs_failed(
    machine: Machine, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    machine.issue("a.example", options={"deploy.post_hook": f"{noting(seen, 'post')}; exit 3"})
    for _ in range(3):
        machine.renew(force=True)
    seen.unlink()

    report = machine.renew()

    assert lines(seen) == ["post"]
    assert (len(report.errors), len(entries(machine))) == (1, 1)


def test_a_failing_post_hook_that_no_certificate_has_any_more_is_given_up(
    machine: Machine, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    machine.issue("a.example", options={"deploy.post_hook": f"{noting(seen, 'old')}; exit 3"})
    machine.issue("a.example", options={"deploy.post_hook": noting(seen, "new")})
    seen.unlink()

    last_time = machine.renew()
    given_up = machine.renew()

    assert (len(last_time.errors), len(given_up.errors)) == (1, 0)
    assert lines(seen) == ["old"]
    assert entries(machine) == []


def test_a_kill_during_the_order_makes_the_next_run_do_the_missing_post_first(
    machine: Machine, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    options = ["--pre-hook", noting(seen, "pre"), "--post-hook", noting(seen, "post")]

    machine.killed_at("new-order", "issue", "a.example", *options)
    between = (lines(seen), len(entries(machine)))
    report = machine.issue(
        "a.example",
        options={"deploy.pre_hook": options[1], "deploy.post_hook": options[3]},
    )

    assert between == (["pre"], 1)
    assert report.exit_status == 0
    assert lines(seen) == ["pre", "post", "pre", "post"]
    assert entries(machine) == []


def test_an_idle_run_does_the_missing_post_too(machine: Machine, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    machine.issue("b.example")
    machine.killed_at("new-order", "issue", "a.example", "--post-hook", noting(seen, "post"))

    report = machine.renew()

    assert (report.exit_status, lines(seen), entries(machine)) == (0, ["post"], [])


def test_a_run_without_hooks_does_the_missing_post_of_another(
    machine: Machine, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    machine.killed_at("new-order", "issue", "a.example", "--post-hook", noting(seen, "post"))

    report = machine.issue("b.example")

    assert (report.exit_status, lines(seen), entries(machine)) == (0, ["post"], [])


def test_a_run_that_is_stopped_still_runs_its_post_hooks(machine: Machine, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    machine.ca.script("new-order", calls(machine.stop.set))

    report = machine.issue(
        "a.example", options={"deploy.post_hook": noting(seen, "post, renewed: $RENEWED_DOMAINS")}
    )

    assert report.exit_status == 130
    assert lines(seen) == ["post, renewed: "]
    assert entries(machine) == []


def test_only_one_run_at_a_time_is_between_its_hooks(machine: Machine, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    machine.issue("a.example", options={"deploy.pre_hook": noting(seen, "pre")})
    machine.issue("b.example")
    seen.unlink()

    with machine.store.lock_run(timeout=0):
        report = machine.renew(force=True)

    assert report.exit_status == 0
    assert [one.action for one in report.outcomes] == ["busy", "busy"]
    assert lines(seen) == []


def test_a_kill_in_the_pre_hook_is_followed_by_post_as_well(
    machine: Machine, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"

    killed = machine.command(
        "issue", "a.example", "--pre-hook", "kill -9 $PPID", "--post-hook", noting(seen, "post")
    )
    machine.renew()

    assert (killed.exit_status, lines(seen)) == (-9, ["post"])
