"""What stands in the place of a file, or was left by a kill: named, in nobody's way, cleaned up."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from certctl.inspection.doctor import DoctorRequest, diagnose
from certctl.store.records import Subject
from tests.lab.scripted_ca.server import ScriptedCA
from tests.support.command import certctl
from tests.support.homes import add_certificate
from tests.support.operations import Machine, codes, lines, noting

DAY = timedelta(days=1)


def dangling(path: Path) -> None:
    path.symlink_to("/nowhere/x.toml")


def directory(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path)


ODD = pytest.mark.parametrize("put", [dangling, directory, pipe, loop])


# Specifications.


@ODD
def test_an_unreadable_spec_is_named_and_stops_no_other(
    machine: Machine, put: Callable[[Path], None]
) -> None:
    machine.issue("a.example")
    machine.issue("b.example")
    spec = machine.spec_file("a.example")
    spec.unlink()
    put(spec)
    machine.pass_time(61 * DAY)

    report = machine.renew()
    issued = machine.issue("c.example")

    assert [(each.name, each.action) for each in report.outcomes] == [
        ("a.example", "failed"),
        ("b.example", "issued"),
    ]
    (error,) = report.all_errors
    assert str(spec) in error.message
    assert report.exit_status != 0
    assert issued.exit_status == 0
    assert any("a.example" in each.message for each in machine.happened("run.warning"))


@ODD
def test_check_and_list_name_a_bad_spec(tmp_path: Path, put: Callable[[Path], None]) -> None:
    add_certificate(tmp_path, "a.example")
    spec = tmp_path / "certificates" / "a.example.toml"
    spec.unlink()
    put(spec)
    certctl("schedule", "external", home=tmp_path)

    check = certctl("check", home=tmp_path)
    listed = certctl("list", "--json", home=tmp_path)

    assert (check.exit_status, str(spec) in check.stdout) == (3, True)
    assert '"unreadable"' in listed.stdout


# The configuration.


@pytest.mark.parametrize("put", [directory, pipe])
def test_something_else_than_a_file_as_certctl_toml_is_refused_at_once(
    tmp_path: Path, put: Callable[[Path], None]
) -> None:
    put(tmp_path / "certctl.toml")

    finished = certctl("list", home=tmp_path)

    assert finished.exit_status == 2
    assert f"{tmp_path}/certctl.toml is not a regular file, but a {put.__name__}" in finished.stderr


# The journal and the renewal state.


@pytest.mark.parametrize(
    "entry", ["post-hooks-0123456789abcdef", "placements-a.example-0123456789abcdef"]
)
@pytest.mark.parametrize("put", [directory, pipe, loop])
def test_something_else_in_place_of_a_journal_file_stops_nothing(
    machine: Machine, entry: str, put: Callable[[Path], None]
) -> None:
    machine.issue("a.example")
    path = machine.home / "journal" / f"{entry}.json"
    path.parent.mkdir(exist_ok=True)
    put(path)
    path.with_name(f"{path.name}.corrupt").mkdir()
    (path.with_name(f"{path.name}.corrupt") / "earlier").touch()
    machine.pass_time(61 * DAY)

    finished = machine.renew()

    assert (codes(finished), machine.live("a.example").number) == ([], 2)


@pytest.mark.parametrize("where", ["renewal/a.example.json", "deployed/a.example.json", "run.json"])
@pytest.mark.parametrize("put", [directory, pipe])
def test_something_else_in_place_of_a_state_file_keeps_no_certificate_from_renewal(
    machine: Machine, where: str, put: Callable[[Path], None]
) -> None:
    machine.issue("a.example")
    path = machine.home / where
    path.unlink(missing_ok=True)
    put(path)
    machine.pass_time(61 * DAY)

    machine.renew(unattended=True)

    assert machine.live("a.example").number == 2


# What a kill leaves.

KILLED_IN_REMOVAL = """
import os, signal, sys
def look(happens, facts):
    if happens == "os.remove" and os.fspath(facts[0]) == "privkey.pem":
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(look)
from certctl.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""A program: certctl, killed when it begins to remove a private key."""


def killed_in_delete(home: Path, name: str) -> list[Path]:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_IN_REMOVAL, "delete", name, "--yes"],
        env={**os.environ, "CERTCTL_HOME": str(home)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    left = list((home / "archive").glob(".new-*/**/privkey.pem"))
    assert left
    return left


def test_the_next_renew_removes_the_keys_of_a_deletion_that_was_killed(machine: Machine) -> None:
    machine.issue("a.example")
    machine.issue("b.example")
    left = killed_in_delete(machine.home, "a.example")

    report = machine.renew()

    assert report.exit_status == 0
    assert [each for each in left if each.exists()] == []
    assert not list(machine.home.rglob(".new-*"))
    assert machine.live("b.example").number == 1


def test_doctor_shows_what_a_kill_left_and_removes_nothing_else(
    tmp_path: Path, ca: ScriptedCA
) -> None:
    for name in ("a.example", "b.example"):
        add_certificate(tmp_path, name, chosen={"ca": ca.directory_url})
    left = killed_in_delete(tmp_path, "a.example")
    (tmp_path / ".new-mine").write_text("a file of the user's")
    (tmp_path / "archive" / "b.example" / ".new-version-00ff00ff").mkdir()

    shown = certctl("doctor", "--json", home=tmp_path)
    kept = [each.exists() for each in left]
    before = {str(each) for each in tmp_path.rglob("*")}
    fixed = certctl("doctor", "--fix", "--json", home=tmp_path)
    after = {str(each) for each in tmp_path.rglob("*")}

    def of(stdout: str, code: str) -> list[str]:
        findings = json.loads(stdout)["data"]["findings"]
        return sorted(each["subject"] for each in findings if each["code"] == code)

    found = of(shown.stdout, "leftover.file")
    assert (len(found), kept) == (2, [True])
    assert of(fixed.stdout, "leftover.removed") == found
    gone = before - after
    assert {each for each in gone if not each.startswith(tuple(found))} == set()
    assert str(left[0]) in gone
    assert (tmp_path / ".new-mine").exists()


def test_doctor_leaves_a_certificate_alone_that_another_process_works_on(machine: Machine) -> None:
    machine.issue("a.example")
    leftover = machine.home / "archive" / "a.example" / ".new-version-00ff00ff"
    leftover.mkdir()

    with machine.store.lock("b.example", timeout=0), machine.run() as run:
        held = run.services.records.lease(Subject("a.example"), wait=0)
        leftover.mkdir()
        found = diagnose(DoctorRequest(fix=True), run).findings
        held.release()

    assert "leftover.kept" in {each.code for each in found}
    assert leftover.exists()


def test_a_temporary_file_of_no_certificate_is_a_leftover_once_it_is_old(machine: Machine) -> None:
    machine.issue("a.example")
    leftover = machine.home / ".new-run.json-00ff00ff"
    leftover.touch()

    with machine.run() as run:
        fresh = run.services.machine.leftovers(machine.clock.now())
        old = run.services.machine.leftovers(machine.clock.now() + timedelta(hours=1))

    assert (list(fresh), [each.path for each in old]) == ([], [str(leftover)])


def test_a_certificate_without_a_spec_is_told(machine: Machine, tmp_path: Path) -> None:
    machine.issue("a.example", options={"deploy.deploy_hook": noting(tmp_path / "seen")})
    machine.spec_file("a.example").unlink()

    with machine.run() as run:
        found = diagnose(DoctorRequest(), run).findings

    assert [each.subject for each in found if each.code == "certificate.without_spec"] == [
        "a.example"
    ]
    assert lines(tmp_path / "seen") == ["a.example"]
