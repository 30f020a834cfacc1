"""Deployment: once for each version, pending until it succeeds, also after an interruption."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from certctl.engine.report import Report
from certctl.inspection.overview import details, overview
from certctl.model.errors import UsageError
from certctl.model.status import CertificateStatus
from certctl.operations.versions import deploy
from tests.support.operations import Machine, executable, lines, noting

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


def deploy_by_hand(machine: Machine, *names: str, pending: bool = False) -> Report:
    with machine.run() as run:
        return deploy(run, names, pending=pending)


def served(status: CertificateStatus) -> tuple[int | None, int | None, bool]:
    """What is live, what is deployed, and whether the deployment is pending."""
    return (
        (status.live.number if status.live else None),
        status.deployment.deployed,
        status.undeployed,
    )


# -- hooks and reloads


def test_a_deploy_hook_runs_once_for_each_version(machine: Machine, tmp_path: Path) -> None:
    hook = noting(
        tmp_path / "seen", "$CERTCTL_CERT_VERSION after ${CERTCTL_PREVIOUS_VERSION:-none}"
    )

    machine.issue("a.example", options={"deploy.deploy_hook": hook})
    machine.renew()
    machine.renew(force=True)
    machine.renew()

    assert lines(tmp_path / "seen") == ["1 after none", "2 after 1"]


def test_a_deploy_hook_is_told_what_it_deploys(machine: Machine, tmp_path: Path) -> None:
    machine.issue(
        "a.example",
        "b.example",
        options={
            "deploy.deploy_hook": f"env > {tmp_path}/env; cat $CERTCTL_COMBINED_FILE > /dev/null"
        },
    )

    told = dict(line.split("=", 1) for line in lines(tmp_path / "env") if "=" in line)
    live = machine.home / "live" / "a.example"
    assert told["CERTCTL_EVENT"] == "deploy"
    assert told["CERTCTL_DOMAINS"] == told["RENEWED_DOMAINS"] == "a.example b.example"
    assert told["CERTCTL_LIVE"] == told["RENEWED_LINEAGE"] == str(live)
    assert told["CERTCTL_FULLCHAIN_FILE"] == str(live / "fullchain.pem")
    assert told["CERTCTL_PRIVKEY_FILE"] == str(live / "privkey.pem")
    assert told["CERTCTL_SERIAL"] == machine.live("a.example").facts.serial


def test_hooks_of_the_directory_run_first_in_byte_order_without_backups(
    machine: Machine, tmp_path: Path
) -> None:
    directory, seen = machine.home / "hooks" / "deploy.d", tmp_path / "seen"
    for name in ("20-second", "10-first", "15-old~"):
        executable(directory / name, f"echo {name} >> {seen}")

    machine.issue("a.example", options={"deploy.deploy_hook": noting(seen, "own")})

    assert lines(seen) == ["10-first", "20-second", "own"]


def test_a_reload_runs_once_a_run_however_many_ask_for_it(machine: Machine, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    reload = noting(seen, "$RENEWED_DOMAINS")
    for name in ("a.example", "b.example"):
        machine.issue(name, options={"deploy.reload": reload})
    machine.issue("c.example", options={"deploy.reload": noting(seen, "another")})
    seen.unlink()

    machine.renew(force=True)

    assert sorted(lines(seen)) == ["a.example b.example", "another"]


def test_a_reload_comes_after_every_deploy_hook(machine: Machine, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    options = {"deploy.deploy_hook": noting(seen), "deploy.reload": noting(seen, "reload")}
    machine.issue("a.example", options=options)
    machine.issue("b.example", options=options)
    seen.unlink()

    machine.renew(force=True)

    assert lines(seen) == ["a.example", "b.example", "reload"]


# -- pending deployments


def test_a_failing_hook_leaves_the_deployment_pending_until_it_succeeds(
    machine: Machine, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    hook = f"test ! -e {broken}"

    first = machine.issue("a.example", options={"deploy.deploy_hook": hook})
    waiting = machine.renew()
    with machine.run() as run:
        (view,), shown = overview(run), details(run, "a.example")
    broken.unlink()
    machine.pass_time(2 * MINUTE)
    last = machine.renew()

    assert [one.exit_status for one in (first, waiting, last)] == [4, 4, 0]
    assert (view.state, view.deployed) == ("undeployed", False)
    assert view.last_error is not None
    assert shown.status.deployment.failures == 1
    assert served(machine.status("a.example")) == (1, 1, False)
    assert machine.ca.count("new-order") == 1
    assert machine.renew().outcomes == ()


def test_a_failing_hook_does_not_undo_the_certificate(machine: Machine) -> None:
    machine.issue("a.example")

    report = machine.issue("a.example", force=True, options={"deploy.deploy_hook": "exit 9"})

    assert report.exit_status == 4
    assert served(machine.status("a.example")) == (2, 1, True)


def test_a_failing_reload_leaves_every_certificate_that_uses_it_pending(
    machine: Machine, tmp_path: Path
) -> None:
    for name in ("a.example", "b.example"):
        machine.issue(name, options={"deploy.reload": f"test ! -e {tmp_path}/broken"})
    machine.issue("c.example", options={"deploy.reload": "true"})
    (tmp_path / "broken").touch()

    report = machine.renew(force=True)

    assert report.exit_status == 4
    pending = [machine.status(name).undeployed for name in ("a.example", "b.example", "c.example")]
    assert pending == [True, True, False]


def test_a_failing_hook_of_one_certificate_stops_no_other(machine: Machine, tmp_path: Path) -> None:
    machine.issue("a.example", options={"deploy.deploy_hook": "exit 1"})
    machine.issue("b.example", options={"deploy.deploy_hook": noting(tmp_path / "seen")})

    report = machine.renew(force=True)

    assert report.exit_status == 4
    assert lines(tmp_path / "seen") == ["b.example", "b.example"]
    assert not machine.status("b.example").undeployed


def test_with_pending_only_pending_deployments_are_run(machine: Machine, tmp_path: Path) -> None:
    seen, broken = tmp_path / "seen", tmp_path / "broken"
    broken.touch()
    for name in ("a.example", "b.example"):
        hook = f"test {name} != a.example || test ! -e {broken} && {noting(seen)}"
        machine.issue(name, options={"deploy.deploy_hook": hook})
    broken.unlink()
    seen.unlink(missing_ok=True)

    report = deploy_by_hand(machine, pending=True)

    assert (report.exit_status, [one.name for one in report.outcomes]) == (0, ["a.example"])
    assert lines(seen) == ["a.example"]


def test_deploying_by_hand_runs_hooks_again_without_an_order(
    machine: Machine, tmp_path: Path
) -> None:
    machine.issue("a.example", options={"deploy.deploy_hook": noting(tmp_path / "seen")})

    report = deploy_by_hand(machine, "a.example")

    assert (report.exit_status, lines(tmp_path / "seen")) == (0, ["a.example"] * 2)
    assert machine.ca.count("new-order") == 1


def test_a_failed_manual_deployment_stays_pending(machine: Machine, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    machine.issue("a.example", options={"deploy.reload": f"test ! -e {broken}"})
    broken.touch()

    assert deploy_by_hand(machine, "a.example").exit_status == 4
    assert machine.renew().exit_status == 4
    broken.unlink()
    machine.pass_time(2 * MINUTE)
    assert machine.renew().exit_status == 0


def test_an_unreadable_spec_stops_no_other_deploy(machine: Machine, tmp_path: Path) -> None:
    for name in ("a.example", "b.example"):
        machine.issue(name, options={"deploy.deploy_hook": noting(tmp_path / "seen")})
    machine.spec_file("a.example").write_text("names = 7")

    report = deploy_by_hand(machine, "a.example", "b.example")

    assert report.exit_status == 3
    assert [one.action for one in report.outcomes] == ["failed", "deployed"]
    assert lines(tmp_path / "seen") == ["a.example", "b.example", "b.example"]


def test_hooks_writable_by_others_are_refused_and_the_deployment_stays_pending(
    machine: Machine,
) -> None:
    hook = machine.home / "hooks" / "deploy.d" / "anybody"
    executable(hook, "true")
    hook.chmod(0o777)

    report = machine.issue("a.example")

    assert report.exit_status == 4
    assert served(machine.status("a.example")) == (1, None, True)


def test_where_there_is_no_certificate_there_is_nothing_to_deploy(machine: Machine) -> None:
    machine.issue("a.example")
    shutil.rmtree(machine.home / "archive" / "a.example")

    with pytest.raises(UsageError, match="no certificate to deploy"):
        deploy_by_hand(machine, "a.example")


# -- what a kill leaves behind


def test_a_kill_during_the_deploy_hook_leaves_the_deployment_to_the_next_run(
    machine: Machine, tmp_path: Path
) -> None:
    survived, seen = tmp_path / "survived", tmp_path / "seen"
    hook = f"test -e {survived} || {{ touch {survived}; kill -9 $PPID; }}; {noting(seen)}"

    killed = machine.command("issue", "a.example", "--deploy-hook", hook)
    pending = served(machine.status("a.example"))
    seen.unlink(missing_ok=True)
    report = machine.renew()

    assert killed.exit_status == -9
    assert pending == (1, None, True)
    assert (report.exit_status, lines(seen)) == (0, ["a.example"])
    assert served(machine.status("a.example")) == (1, 1, False)
    assert machine.ca.count("new-order") == 1


def test_a_kill_during_a_manual_deployment_leaves_it_pending_as_well(
    machine: Machine, tmp_path: Path
) -> None:
    kill = tmp_path / "kill"
    machine.issue("a.example", options={"deploy.reload": f"test ! -e {kill} || kill -9 $PPID"})
    kill.touch()

    killed = machine.command("deploy", "a.example")
    kill.unlink()

    assert killed.exit_status == -9
    assert machine.status("a.example").undeployed
    assert machine.renew().exit_status == 0
    assert not machine.status("a.example").undeployed


def test_a_target_that_is_not_live_is_made_live_and_deployed_by_the_next_run(
    machine: Machine, tmp_path: Path
) -> None:
    hook = noting(tmp_path / "seen", "$CERTCTL_CERT_VERSION")
    machine.issue("a.example", options={"deploy.deploy_hook": hook})
    machine.killed_before_rename("live/a.example", "issue", "a.example", "--force")
    assert served(machine.status("a.example")) == (1, 1, True)

    report = machine.renew()

    assert report.exit_status == 0
    assert served(machine.status("a.example")) == (2, 2, False)
    assert lines(tmp_path / "seen") == ["1", "2"]
    assert machine.ca.count("new-order") == 2
    assert machine.renew().outcomes == ()
