"""Many certificates as one text: what `plan` shows, and `apply` does, and neither does besides."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certctl import Certctl
from certctl.engine.report import Report
from certctl.engine.specs import load
from certctl.model.errors import PlanChanged, UsageError
from certctl.model.names import parse_identifiers
from certctl.operations.apply import apply
from certctl.operations.desired import read_desired_state
from certctl.operations.forecast import Forecast, Planned
from certctl.operations.issue import edit, edited_specs
from certctl.operations.plan import Prune, plan_changes, plan_desired
from certctl.output.plan import item_lines
from certctl.output.times import Times
from tests.lab.scripted_ca.faults import calls, problem
from tests.support.command import Finished, certctl, certctl_process
from tests.support.documents import ROOT, python_blocks
from tests.support.homes import add_certificate
from tests.support.operations import Machine, codes, lines, reached_at

PUBLIC = "https://acme-v02.api.letsencrypt.org/directory"
DEV = '[defaults]\nca = "dev"\n'


# -- with the development CA, as one types it


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def desired(tmp_path: Path, text: str, *, head: str = f'owner = "web"\n{DEV}') -> str:
    file = tmp_path / "desired.toml"
    file.write_text(head + text)
    return str(file)


def certificates(*names: str, lines: str = "") -> str:
    return "".join(f'[certificate."{each}"]\n{lines}\n' for each in names)


def planned(finished: Finished) -> dict[str, str]:
    return {each["name"]: each["action"] for each in finished.json()["data"]["certificates"]}


def tree(home: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes() for path in home.rglob("*") if path.is_file() and path.exists()
    }


def test_a_plan_writes_nothing_and_asks_no_ca(home: Path, tmp_path: Path) -> None:
    nowhere = '[defaults]\nca = "https://127.0.0.1:1/directory"\n'
    file = desired(tmp_path, certificates("a.example"), head=nowhere)

    found = certctl("plan", file, home=home)

    assert (found.exit_status, found.stderr) == (7, "")
    assert found.stdout.startswith("+ a.example: create: there is no certificate yet\n")
    assert not home.exists()


def test_what_is_applied_is_there_and_then_nothing_is_to_be_done(
    home: Path, tmp_path: Path
) -> None:
    file = desired(tmp_path, certificates("a.example", "b.example", lines='key_type = "rsa-2048"'))

    before = certctl("plan", file, "--json", home=home)
    applied = certctl("apply", file, "--yes", "--json", home=home)
    kept = tree(home)
    after = certctl("plan", file, home=home)
    again = certctl("apply", file, home=home)

    assert (before.exit_status, planned(before)) == (
        7,
        {"a.example": "create", "b.example": "create"},
    )
    assert applied.exit_status == 0, applied
    outcomes = applied.json()["data"]["certificates"]
    assert [(each["name"], each["action"]) for each in outcomes] == [
        ("a.example", "issued"),
        ("b.example", "issued"),
    ]
    assert (after.exit_status, after.stdout) == (0, "Plan: 2 unchanged.\n")
    assert (again.exit_status, again.stdout, again.stderr) == (0, "", "")
    assert tree(home) == kept
    shown = certctl("show", "a.example", "--json", home=home).json()["data"]
    assert (shown["managed_by"], shown["key_type"]) == ("web", "rsa-2048")


def test_without_consent_nothing_is_done(home: Path, tmp_path: Path) -> None:
    file = desired(tmp_path, certificates("a.example"))

    nobody = certctl("apply", file, home=home)
    no = certctl("apply", file, home=home, stdin="n\n", terminal=True)
    yes = certctl("apply", file, home=home, stdin="y\n", terminal=True)

    assert (nobody.exit_status, "Confirm in advance with --yes." in nobody.stderr) == (2, True)
    assert (no.exit_status, "Nothing was changed." in no.stdout) == (0, True)
    assert "create: there is no certificate yet" in no.stdout
    assert "Do this? [y/N]" in no.stderr
    assert (yes.exit_status, "a.example: version 1 is live" in yes.stdout) == (0, True)


def test_json_comes_on_standard_input(home: Path) -> None:
    state = {"owner": "web", "certificate": {"a.example": {"ca": "dev"}}}

    done = certctl_process("apply", "-", "--yes", home=home, stdin=json.dumps(state))
    bad = certctl_process(
        "plan", "-", home=home, stdin='{"certificate": {"a.example": {"keytype": 1}}}'
    )

    assert done.exit_status == 0, done
    assert (home / "live" / "a.example" / "privkey.pem").exists()
    assert bad.exit_status == 2
    assert "standard input: unknown setting 'keytype' in certificate.a.example" in bad.stderr


def test_a_directory_is_all_its_files(home: Path, tmp_path: Path) -> None:
    directory = tmp_path / "desired"
    directory.mkdir()
    empty = certctl("plan", str(directory), home=home)
    (directory / "0.toml").write_text(DEV)
    (directory / "a.toml").write_text(certificates("a.example"))
    (tmp_path / "elsewhere").write_text(certificates("b.example"))
    (directory / "b.toml").symlink_to(tmp_path / "elsewhere")
    (directory / ".c.toml").write_text("no TOML")
    (directory / "notes").write_text("no TOML either")

    found = certctl("plan", str(directory), "--json", home=home)
    (directory / "c.toml").write_text(certificates("a.example"))
    twice = certctl("plan", str(directory), home=home)
    (directory / "c.toml").unlink()
    os.mkfifo(directory / "c.toml")
    pipe = certctl("plan", str(directory), home=home)

    assert (empty.exit_status, "there is no file *.toml in" in empty.stderr) == (2, True)
    assert planned(found) == {"a.example": "create", "b.example": "create"}
    assert (twice.exit_status, "it is also at" in twice.stderr) == (2, True)
    assert (pipe.exit_status, "is not a regular file" in pipe.stderr) == (2, True)


def test_a_file_that_others_can_write_is_refused(home: Path, tmp_path: Path) -> None:
    file = desired(tmp_path, certificates("a.example"))
    Path(file).chmod(0o666)

    found = certctl("apply", file, "--yes", home=home)

    assert found.exit_status == 2
    assert f"{file} can be written by " in found.stderr
    assert f"chmod go-w {file}" in found.stderr
    assert not (home / "certificates").exists()


@pytest.mark.parametrize("text", ["", "owner = 1", "[certificate", "\x00", "[certificate.'a..b']"])
def test_a_bad_file_changes_nothing(home: Path, tmp_path: Path, text: str) -> None:
    add_certificate(home, "old.example")
    kept = tree(home)

    found = certctl("apply", desired(tmp_path, text, head=""), "--yes", "--prune", home=home)

    assert found.exit_status == 2
    assert found.stderr.startswith("error: ")
    assert tree(home) == kept


def test_what_changes_is_shown_with_both_values(home: Path, tmp_path: Path) -> None:
    add_certificate(home, "a.example", names=["a.example", "old.example"], chosen={"ca": PUBLIC})
    file = desired(
        tmp_path,
        'names = ["a.example", "new.example"]\nca = "letsencrypt"\nkey_type = "rsa-2048"\n'
        'deploy.reload = "true"\n',
        head='owner = "web"\n[certificate."a.example"]\n',
    )

    found = certctl("plan", file, home=home)

    assert found.exit_status == 7
    assert "~ a.example: change: its specification has changed" in found.stdout
    assert "names          + new.example, - old.example\n" in found.stdout
    assert "deploy.reload  not set → true\n" in found.stdout
    assert "key_type       not set (ecdsa-p256) → rsa-2048\n" in found.stdout
    assert "managed_by     not set → web\n" in found.stdout
    assert "new.example not until then" in found.stdout


def test_names_in_unicode_and_wildcards_are_certificates_like_others(
    home: Path, tmp_path: Path
) -> None:
    text = certificates("bücher.example") + certificates(
        "w.example", lines='names = ["*.w.example", "w.example"]'
    )

    done = certctl("apply", desired(tmp_path, text), "--yes", home=home)
    again = certctl("plan", desired(tmp_path, text), home=home)

    assert done.exit_status == 0, done
    assert sorted(each.name for each in (home / "live").iterdir()) == [
        "w.example",
        "xn--bcher-kva.example",
    ]
    assert again.exit_status == 0


def test_the_signing_request_of_a_certificate_is_read(home: Path, tmp_path: Path) -> None:
    subprocess.run(
        shlex.split(
            "openssl req -new -newkey rsa:2048 -nodes -keyout key.pem -out device.pem"
            " -subj /CN=device.example -addext subjectAltName=DNS:device.example"
        ),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    file = desired(tmp_path, '[certificate.device]\ncsr = "device.pem"\n')

    done = certctl("apply", file, "--yes", home=home)
    again = certctl("plan", file, home=home)
    other = certctl(
        "plan",
        desired(tmp_path, '[certificate.device]\ncsr = "device.pem"\nnames = ["other.example"]\n'),
        home=home,
    )

    assert done.exit_status == 0, done
    assert (home / "live" / "device" / "cert.pem").exists()
    assert not (home / "live" / "device" / "privkey.pem").exists()
    assert again.exit_status == 0
    assert (other.exit_status, "line 4: certificate.device: its names differ" in other.stderr) == (
        2,
        True,
    )


def test_a_certificate_of_another_owner_is_left_alone(home: Path, tmp_path: Path) -> None:
    certctl("apply", desired(tmp_path, certificates("a.example")), "--yes", home=home)
    kept = tree(home)

    other = certctl(
        "apply",
        desired(tmp_path, certificates("a.example"), head=f'owner = "mail"\n{DEV}'),
        "--yes",
        home=home,
    )
    nobody = certctl("plan", desired(tmp_path, certificates("a.example"), head=DEV), home=home)

    assert (other.exit_status, nobody.exit_status) == (2, 2)
    assert "a.example: managed by web, not by the owner mail" in other.stderr
    assert (
        "a.example: managed by web, not by this desired state, which has no owner" in nobody.stderr
    )
    assert tree(home) == kept


def test_what_was_edited_by_hand_is_shown_as_drift(home: Path, tmp_path: Path) -> None:
    file = desired(tmp_path, certificates("a.example", "b.example"))
    certctl("apply", file, "--yes", home=home)
    edited = certctl("edit", "a.example", "--key-type", "rsa-2048", home=home)
    spec = home / "certificates" / "b.example.toml"
    spec.write_text(spec.read_text() + '[deploy]\nreload = "true"\n')

    found = certctl("plan", file, home=home)
    done = certctl("apply", file, "--yes", home=home)

    assert "the next `certctl apply` of web undoes this change" in edited.stderr
    assert found.exit_status == 7
    assert found.stdout.count("it was edited by hand since it was applied") == 2
    assert "key_type  rsa-2048 → not set (ecdsa-p256)" in found.stdout
    assert "deploy.reload  true → not set" in found.stdout
    assert done.exit_status == 0, done
    assert "reload" not in spec.read_text()
    assert certctl("plan", file, home=home).exit_status == 0


# -- pruning


def pruned(tmp_path: Path, home: Path, *arguments: str, left: int = 1) -> Finished:
    names = [f"{number}.example" for number in range(left)]
    return certctl("apply", desired(tmp_path, certificates(*names)), "--yes", *arguments, home=home)


def stored(home: Path, count: int, owner: str = "web", first: int = 0) -> None:
    for number in range(first, first + count):
        add_certificate(home, f"{number}.example", chosen={"ca": "dev"})
        spec = home / "certificates" / f"{number}.example.toml"
        spec.write_text(f'managed_by = "{owner}"\n{spec.read_text()}')


def test_only_what_the_owner_made_is_deleted_and_only_if_that_is_said(
    home: Path, tmp_path: Path
) -> None:
    stored(home, 3)
    stored(home, 2, owner="mail", first=3)
    add_certificate(home, "by-hand.example")

    kept = certctl("plan", desired(tmp_path, certificates("0.example")), home=home)
    done = pruned(tmp_path, home, "--prune")

    assert "Not there any more, but kept without --prune: 1.example, 2.example." in kept.stdout
    assert done.exit_status == 0, done
    assert "1.example: deleted" in done.stdout
    assert sorted(each.stem for each in (home / "certificates").iterdir()) == [
        "0.example",
        "3.example",
        "4.example",
        "by-hand.example",
    ]


def test_many_deletions_have_to_be_allowed(home: Path, tmp_path: Path) -> None:
    stored(home, 6)

    refused = pruned(tmp_path, home, "--prune")
    few = pruned(tmp_path, home, "--prune", "--prune-limit", "4")
    none_left = len(list((home / "certificates").iterdir()))
    done = pruned(tmp_path, home, "--prune", "--prune-limit", "5")

    assert (refused.exit_status, few.exit_status) == (2, 2)
    assert "5 of 6 certificates would be deleted, but at most 3 may be" in refused.stderr
    assert "--prune-limit 5" in refused.stderr
    assert none_left == 6
    assert done.exit_status == 0, done
    assert len(list((home / "certificates").iterdir())) == 1


def test_pruning_requires_an_owner_and_a_limit_pruning(home: Path, tmp_path: Path) -> None:
    file = desired(tmp_path, certificates("a.example"), head=DEV)

    assert "--prune requires an owner" in certctl("plan", file, "--prune", home=home).stderr
    assert "without --prune" in certctl("plan", file, "--prune-limit", "3", home=home).stderr
    assert "requires a desired state" in certctl("plan", "--prune", home=home).stderr


# -- what goes wrong while it is done


def text_of(machine: Machine, text: str) -> str:
    file = machine.home.parent / "desired.toml"
    file.write_text(
        f'owner = "web"\n[defaults]\nca = "{machine.flags["ca"]}"\n'
        + (f'ca_bundle = "{machine.flags["ca_bundle"]}"\n' if "ca_bundle" in machine.flags else "")
        + f'challenge.http_address = "127.0.0.1"\nchallenge.http_port = {machine.port}\n{text}'
    )
    return str(file)


def forecast(machine: Machine, text: str, prune: Prune | None = None) -> Forecast:
    with machine.run() as run:
        wish = read_desired_state(text_of(machine, text), machine.home, run)
        return plan_desired(wish, run, prune)


def done(machine: Machine, agreed: Forecast) -> Report:
    with machine.run() as run:
        return apply(agreed, run)


def actions(report: Report) -> dict[str, str]:
    return {each.name: each.action for each in report.outcomes}


def test_one_failure_stops_no_other_and_renew_tries_it_again(machine: Machine) -> None:
    text = certificates("a.example", "b.example", "c.example")
    machine.ca.script("new-order", problem("rejectedIdentifier", 400), after=1)

    report = done(machine, forecast(machine, text, None))
    (failed,) = [each.name for each in report.outcomes if each.error is not None]
    shown = {each.name: each.action.value for each in forecast(machine, text).items}
    machine.pass_time(timedelta(minutes=2))
    renewed = machine.renew()

    assert (int(report.exit_status), len(report.all_errors)) == (3, 1)
    assert shown == {each: "wait" if each == failed else "unchanged" for each in shown}
    assert actions(renewed) == {failed: "issued"}


def test_a_deployment_is_one_reload_for_all(machine: Machine, tmp_path: Path) -> None:
    noted = tmp_path / "reloads"
    text = certificates(
        "a.example", "b.example", "c.example", lines=f"deploy.reload = 'echo x >> {noted}'"
    )

    report = done(machine, forecast(machine, text))

    assert set(actions(report).values()) == {"issued"}
    assert lines(noted) == ["x"]


def test_changed_options_are_deployed_without_an_order(machine: Machine, tmp_path: Path) -> None:
    noted = tmp_path / "reloads"
    done(machine, forecast(machine, certificates("a.example")))
    ordered = machine.ca.count()
    text = certificates("a.example", lines=f"deploy.reload = 'echo x >> {noted}'")

    found = forecast(machine, text)
    report = done(machine, found)

    assert [each.action.value for each in found.items] == ["change"]
    assert found.cas == ()
    assert (codes(report), lines(noted)) == ([], ["x"])
    assert machine.ca.count() == ordered


def test_what_changed_since_the_plan_was_shown_is_skipped(machine: Machine) -> None:
    """One certificate was edited meanwhile, one deleted, and one became due; one is as it was."""
    names = ("deleted.example", "due.example", "edited.example", "plain.example")
    done(machine, forecast(machine, certificates(*names)))
    machine.pass_time(timedelta(days=10))
    for name in ("deleted.example", "edited.example", "plain.example"):
        machine.renew(name, force=True)
    agreed = forecast(machine, certificates(*names, lines="deploy.reload = 'true'"))
    with machine.run() as run:
        edit(run, ("edited.example",), (), (), {"key_type": "rsa-2048"})
    certctl("delete", "deleted.example", "--yes", home=machine.home)
    machine.pass_time(timedelta(days=51))

    report = done(machine, agreed)

    assert {each.action.value for each in agreed.items} == {"change"}
    assert {each.name: type(each.error) for each in report.outcomes} == {
        "deleted.example": PlanChanged,
        "due.example": PlanChanged,  # options were agreed to, and now it would be ordered
        "edited.example": PlanChanged,
        "plain.example": type(None),
    }
    assert int(report.exit_status) == 3
    assert not (machine.home / "certificates" / "deleted.example.toml").exists()
    assert machine.live("due.example").number == 1
    with machine.run() as run:
        assert load(run, "edited.example").key_type == "rsa-2048"


def test_what_somebody_else_did_already_is_not_done_again(machine: Machine) -> None:
    text = certificates("a.example", "b.example")
    agreed = forecast(machine, text)
    first = done(machine, agreed)
    ordered = machine.ca.count()

    second = done(machine, agreed)

    assert set(actions(first).values()) == {"issued"}
    assert codes(second) == []
    assert set(actions(second).values()) == {"updated"}
    assert machine.ca.count() == ordered


def test_two_runs_at_once_order_once(machine: Machine) -> None:
    file = text_of(machine, certificates("a.example", "b.example"))
    command = ["apply", file, "--yes", "--agree-tos"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "certctl", *command],
            env={**os.environ, "CERTCTL_HOME": str(machine.home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    ends = [each.communicate(timeout=60) for each in processes]

    assert [each.returncode for each in processes] == [0, 0], ends
    assert sorted(
        int(each.name)
        for name in ("a.example", "b.example")
        for each in (machine.home / "archive" / name).iterdir()
    ) == [1, 1]


def test_a_killed_run_goes_on_when_it_is_run_again(machine: Machine) -> None:
    file = text_of(machine, certificates(*(f"{number}.example" for number in range(4))))
    started: list[subprocess.Popen[str]] = []
    environment = {**os.environ, "CERTCTL_HOME": str(machine.home)}
    command = [sys.executable, "-m", "certctl", "apply", file, "--yes", "--agree-tos"]

    def kill() -> None:
        while not started:
            time.sleep(0.01)
        started[0].kill()
        started[0].wait(30)

    machine.ca.script("finalize", calls(kill), after=1)
    started.append(
        subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            text=True,
        )
    )
    started[0].wait(60)
    specs = sorted(each.stem for each in (machine.home / "certificates").iterdir())
    again = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert started[0].returncode == -signal.SIGKILL
    assert specs == [f"{number}.example" for number in range(4)]
    assert again.returncode == 0, again
    assert {
        each.name: len(list(each.iterdir())) for each in (machine.home / "archive").iterdir()
    } == {f"{number}.example": 1 for number in range(4)}


def test_a_ca_that_is_not_there_fails_its_own_certificates_alone(
    home: Path, tmp_path: Path
) -> None:
    text = certificates("a.example") + certificates(
        "b.example", lines='ca = "https://127.0.0.1:1/directory"'
    )

    found = certctl("apply", desired(tmp_path, text), "--yes", home=home)

    assert found.exit_status == 3, found
    assert (home / "live" / "a.example").exists()
    assert (home / "certificates" / "b.example.toml").exists()


def test_what_could_not_be_deployed_is_told_by_the_plan(home: Path, tmp_path: Path) -> None:
    text = (
        certificates("a.example")
        + certificates("b.example", lines='deploy.targets = ["nosuch"]')
        + certificates("c.example", lines='key_group = "nosuchgroup"')
        + certificates("d.example", lines='account.id = "nosuch"')
    )
    file = desired(tmp_path, text)

    plan = certctl("plan", file, "--json", home=home)
    done = certctl("apply", file, "--yes", "--json", home=home)

    assert (plan.exit_status, done.exit_status) == (2, 2)  # a configuration that is wrong
    assert planned(plan) == {
        "a.example": "create",
        "b.example": "failed",
        "c.example": "create",  # what needs a look at the home directory is seen later
        "d.example": "create",
    }
    assert {each["name"]: each["action"] for each in done.json()["data"]["certificates"]} == {
        "a.example": "issued",
        "b.example": "failed",
        "c.example": "failed",
        "d.example": "failed",
    }
    assert [each.stem for each in (home / "certificates").iterdir()] == ["a.example"]


# -- rate limits


@pytest.fixture
def letsencrypt(machine: Machine) -> Machine:
    """A machine whose certificates come from a CA that has Let's Encrypt's name and limits."""
    machine.endpoints = {PUBLIC: reached_at(machine.ca)}
    machine.flags["ca"] = "letsencrypt"
    del machine.flags["ca_bundle"]
    return machine


def test_what_exceeds_a_limit_is_ordered_by_later_runs_of_renew(letsencrypt: Machine) -> None:
    machine = letsencrypt
    text = certificates(*(f"n{number:02}.shop.com" for number in range(53)))

    found = forecast(machine, text)
    report = done(machine, found)
    again = forecast(machine, text)
    at_once = machine.renew()
    machine.pass_time(timedelta(hours=4))
    soon = machine.renew()
    machine.pass_time(timedelta(hours=8))
    later = machine.renew()

    (use,) = found.cas
    assert (use.ca, use.now, use.later) == ("letsencrypt", 50, 3)
    limit = use.limits[0]
    assert (limit.limit, limit.subject) == ("50 new certificates in 7 days", "shop.com")
    later_ones = [each for each in report.outcomes if each.action == "postponed"]
    assert len(later_ones) == 3
    assert list(actions(report).values()).count("issued") == 50
    assert int(report.exit_status) == 0
    # they are waited for, and nothing else is to be done
    assert again.to_do == ()
    assert [each.at for each in again.items if each.action.value == "later"] == [
        each.renews_at for each in later_ones
    ]
    assert actions(at_once) == {}
    assert list(actions(soon).values()) == ["issued"]
    assert list(actions(later).values()) == ["issued", "issued"]
    assert forecast(machine, text).to_do == ()


def test_a_change_that_waits_leaves_what_is_live(letsencrypt: Machine) -> None:
    """The names of 53 certificates change: those that expire soon do not wait."""
    machine = letsencrypt
    names = [f"n{number:02}.shop.com" for number in range(53)]
    for at in (0, 50):
        done(machine, forecast(machine, certificates(*names[at : at + 50])))
        machine.pass_time(timedelta(days=20))
    text = "".join(certificates(each, lines=f'names = ["{each}", "www.{each}"]') for each in names)

    found = forecast(machine, text)
    report = done(machine, found)

    assert {each.action.value for each in found.items} == {"change"}
    postponed = {each.name for each in report.outcomes if each.action == "postponed"}
    assert postponed == {each.name for each in found.items if each.at is not None}
    assert postponed == set(names[50:])  # they expire last
    assert all("meanwhile" in served(each) for each in found.items)
    assert {machine.live(each).number for each in postponed} == {1}
    assert {machine.live(each).number for each in names[:50]} == {2}
    assert codes(machine.renew()) == []
    assert {machine.live(each).number for each in postponed} == {1}
    machine.pass_time(timedelta(days=1))
    assert set(actions(machine.renew())) == postponed


def served(item: Planned) -> str:
    (text,) = [str(each) for each in item_lines(item, Times()) if "served" in str(each)]
    return text


def test_an_edit_of_all_keeps_the_limits_too(letsencrypt: Machine) -> None:
    machine = letsencrypt
    names = [f"n{number:02}.shop.com" for number in range(53)]
    for at in (0, 50):
        done(machine, forecast(machine, certificates(*names[at : at + 50])))
        machine.pass_time(timedelta(days=8))
    added = parse_identifiers(["shop.com"])

    with machine.run() as run:
        found = plan_changes(edited_specs(run, names, added, (), {}), run)
        report = apply(found, run)

    postponed = {each.name for each in report.outcomes if each.action == "postponed"}
    assert len(postponed) == 3
    assert codes(report) == []
    assert {each.name: len(each.names) for each in report.outcomes} == dict.fromkeys(names, 2)
    assert {machine.live(each).number for each in postponed} == {1}


# -- without a file


def test_without_a_file_it_is_what_renew_would_do(home: Path) -> None:
    add_certificate(home, "due.example", age=timedelta(days=70))
    add_certificate(home, "valid.example", age=timedelta(days=1))
    add_certificate(home, "undeployed.example", deployed=False)
    kept = tree(home)

    found = certctl("plan", home=home)

    assert found.exit_status == 7
    assert "* due.example: renew: " in found.stdout
    assert "* undeployed.example: deploy: its deployment is pending" in found.stdout
    assert "Plan: 1 to renew, 1 to deploy, 1 unchanged." in found.stdout
    assert tree(home) == kept


def test_a_calendar_has_each_renewal_of_the_time_asked_for(home: Path) -> None:
    add_certificate(home, "due.example", age=timedelta(days=70))
    add_certificate(home, "soon.example", age=timedelta(days=50))
    add_certificate(home, "later.example", age=timedelta(days=1))

    found = certctl("plan", "--until", "75d", "--json", home=home)
    text = certctl("plan", "--until", "30d", home=home)
    wrong = certctl("plan", "--until", "30", home=home)

    events = found.json()["data"]["events"]
    assert found.exit_status == 0
    assert [(each["name"], each["expected"]) for each in events] == [
        ("due.example", False),
        ("soon.example", False),
        ("later.example", False),
        ("due.example", True),
        ("soon.example", True),
    ]
    ats = [datetime.fromisoformat(each["at"]) for each in events]
    assert (ats[1] - datetime.now(UTC)).days in {9, 10}
    assert "renew: due.example\n" in text.stdout
    assert "later.example" not in text.stdout
    assert (wrong.exit_status, "is not a duration" in wrong.stderr) == (2, True)


# -- groups, and programs


def test_groups_choose_certificates(home: Path, tmp_path: Path) -> None:
    text = (
        '[group.base]\nreuse_key = true\n[group.web]\nextends = "base"\n'
        + certificates("a.example", lines='extends = "web"')
        + certificates("b.example", lines='extends = "base"')
        + certificates("c.example")
    )
    certctl("apply", desired(tmp_path, text), "--yes", home=home)

    def chosen(group: str) -> list[str]:
        found = certctl("list", "--where", f"group={group}", "--json", home=home).json()
        return [each["name"] for each in found["data"]["certificates"]]

    assert (chosen("web"), chosen("base")) == (["a.example"], ["a.example", "b.example"])


def test_the_example_for_programs_works(tmp_path: Path) -> None:
    (example,) = python_blocks("docs/apply.md")

    finished = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.stderr == ""
    assert "'web.example'" in finished.stdout
    assert "there is no certificate yet" in finished.stdout
    assert finished.stdout.splitlines()[-1] == "0"


def test_a_program_applies_the_plan_that_it_was_shown(tmp_path: Path) -> None:
    home = Certctl(tmp_path / "home", settings={"ca": "dev"}, environment={})
    wanted: dict[str, Any] = {"owner": "web", "certificate": {"a.example": {}}}

    agreed = home.plan(wanted)
    home.issue("a.example", options={"key_type": "rsa-2048"})
    report = home.apply(agreed)
    again = home.apply(wanted)

    assert [each.code for each in report.all_errors] == ["plan.changed"]
    assert again.all_errors == ()
    assert home.plan().to_do == ()
    with pytest.raises(UsageError, match="managed by web"):
        home.plan({"certificate": {"a.example": {}}})
