"""What must not go unnoticed after a first issuance: nothing renews, renewal is off, nothing is
told of new versions; and that each has a command that changes it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from certctl.inspection.scheduled import MachineContext, is_renewed
from certctl.model.ca import RevocationReason
from certctl.model.certificate import Afterwards
from certctl.model.values import Value
from certctl.operations.issue import edit
from certctl.operations.revoke import revoke
from certctl.operations.versions import deploy
from tests.integration.test_issue import PUBLIC, STAGING
from tests.lab.answers import Answer, files_of, say, serving
from tests.lab.ports import free_port
from tests.lab.scripted_ca.faults import problem
from tests.lab.scripted_dns import ScriptedDns
from tests.support.command import certctl
from tests.support.doctor import asking_at
from tests.support.operations import Machine, codes, executable, reached_at

HINT = "certctl schedule install"


def edited(machine: Machine, name: str, **given: object) -> str:
    with machine.run() as run:
        report = edit(run, (name,), (), (), given)  # type: ignore[arg-type]
    assert report.exit_status == 0
    return report.outcomes[0].action


# -- nothing renews


def test_issue_says_last_that_nothing_renews(machine: Machine) -> None:
    finished = machine.command("issue", "a.example")

    last = finished.stdout.splitlines()[-1]
    assert (finished.exit_status, last) == (
        0,
        f"Nothing renews it automatically yet. To schedule that, run: {HINT}",
    )


def test_once_something_else_is_noted_issue_and_list_say_no_more(machine: Machine) -> None:
    assert HINT in machine.command("issue", "a.example").stdout
    assert certctl("list", home=machine.home).stdout.splitlines()[-1].endswith(HINT)

    certctl("schedule", "external", home=machine.home)

    assert HINT not in machine.command("issue", "b.example").stdout
    assert HINT not in certctl("list", home=machine.home).stdout


def test_a_cron_job_a_note_or_a_recent_run_renews(machine: Machine) -> None:
    root = machine.home / "root"
    context = MachineContext(root=root, ask_crontab=False)
    with machine.run() as run:
        here, now = run.services.machine, run.services.clock.now()
        before = is_renewed(context, run)
        (root / "etc/cron.d").mkdir(parents=True)
        (root / "etc/cron.d/certctl").write_text("19 * * * * root certctl renew\n")
        by_cron = is_renewed(context, run)
        (root / "etc/cron.d/certctl").unlink()
        here.record_run(now - timedelta(days=3), 0)
        long_ago = is_renewed(context, run)
        here.record_run(now - timedelta(hours=1), 0)

        assert (before, by_cron, long_ago, is_renewed(context, run)) == (False, True, False, True)


# -- renewal is off


def test_renewal_is_turned_off_and_on_again_by_edit(machine: Machine) -> None:
    machine.issue("a.example")

    edited(machine, "a.example", autorenew=False)
    off = [certctl(word, *names, home=machine.home).stdout for word, *names in SHOWN]
    machine.pass_time(timedelta(days=80))
    assert machine.renew().exit_status == 0
    assert machine.live("a.example").number == 1
    edited(machine, "a.example", autorenew=True)

    assert [text in each for text, each in zip(TOLD, off, strict=True)] == [True, True, True]
    assert machine.live("a.example").number == 2


SHOWN = (["list"], ["explain", "a.example"], ["check"])
TOLD = (" off ", "renewal is turned off", "its renewal is turned off")


def test_an_edit_of_something_else_leaves_renewal_off(machine: Machine) -> None:
    machine.issue("a.example")
    edited(machine, "a.example", autorenew=False)

    edited(machine, "a.example", reuse_key=True)

    assert machine.store.spec("a.example").autorenew is False


def test_a_revoked_certificate_that_was_stopped_is_replaced_once_renewal_is_on(
    machine: Machine,
) -> None:
    machine.issue("a.example")
    with machine.run() as run:
        revoke(run, "a.example", RevocationReason.UNSPECIFIED, Afterwards.STOP)
    assert "its renewal is turned off" in certctl("check", home=machine.home).stdout

    edited(machine, "a.example", autorenew=True)

    assert (machine.live("a.example").number, machine.store.spec("a.example").autorenew) == (
        2,
        True,
    )


# -- nothing is told of new versions


def test_what_has_no_target_has_no_deployment_to_show(machine: Machine) -> None:
    machine.issue("a.example")
    machine.issue("b.example", options={"deploy.reload": "true"})

    rows = certctl("list", home=machine.home).stdout.splitlines()[1:3]
    assert [row.split()[4] for row in rows] == ["-", "yes"]

    hooks = machine.home / "hooks/deploy.d"
    hooks.mkdir(parents=True)
    executable(hooks / "all", "#!/bin/sh\n")
    rows = certctl("list", home=machine.home).stdout.splitlines()[1:3]
    assert [row.split()[4] for row in rows] == ["yes", "yes"]


# -- rate limits, and terms


def test_a_rate_limit_says_when_to_try_again_and_never_to_force(machine: Machine) -> None:
    limit = problem("rateLimited", 429, "too many orders", retry_after=600)
    machine.issue("a.example")
    machine.pass_time(timedelta(days=70))
    machine.ca.script("new-order", limit)

    first, second = machine.renew(), machine.renew()

    assert codes(first) == codes(second) == ["acme.rate_limited"]
    told, waiting = first.all_errors[0], second.all_errors[0]
    assert str(told.hint).endswith(" UTC, in 10 minutes.")
    assert " UTC, in 10 minutes): " in waiting.message
    assert "--force" not in f"{told.hint} {waiting.hint}"


def test_a_dry_run_of_renew_accepts_terms_that_were_agreed_to_before(machine: Machine) -> None:
    machine.endpoints = {PUBLIC: reached_at(machine.ca), STAGING: reached_at(machine.ca)}
    machine.issue("a.example", options={"ca": "letsencrypt"})

    report = machine.renew(dry_run=True)

    assert (report.exit_status, report.outcomes[0].action) == (0, "dry-run")
    assert machine.questions == []


def test_renew_has_a_flag_to_agree_to_terms(machine: Machine) -> None:
    machine.issue("a.example")

    assert "--agree-tos" in certctl("renew", "--help", home=machine.home).stdout
    assert machine.command("renew", "--agree-tos").exit_status == 0


# -- the path of HTTP-01 answers after a deployment


RESOLVED = {(f"{each}.example", "A"): ("127.0.0.1",) for each in "ab"}


@contextmanager
def webroot(machine: Machine, directory: Path, answer: Answer) -> Iterator[dict[str, Value]]:
    """A web server for the name, in place of the one that served the files for the CA."""
    with ScriptedDns(RESOLVED, {}) as resolver, serving(answer, machine.port):
        machine.endpoints[machine.ca.directory_url] = asking_at(machine)
        yield {
            "challenge.method": "webroot",
            "challenge.webroots": (str(directory),),
            "challenge.dns_resolver": resolver.address,
            "deploy.reload": "true",
        }


def warnings(machine: Machine) -> list[str]:
    return [each.message for each in machine.happened("run.warning")]


def test_a_path_that_a_deployment_broke_is_told(machine: Machine, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with webroot(machine, root, files_of(root)) as options:
        machine.issue("a.example", options=options)
    before = warnings(machine)

    away = say(301, Location="https://a.example:1/")
    with webroot(machine, root, away) as options:
        report = machine.issue("a.example", options={**options, "deploy.reload": "true again"})

    (warning,) = warnings(machine)
    assert (report.exit_status, before) == (0, [])
    assert warning.startswith("the next renewal will fail, since a.example cannot be validated")
    assert "is redirected, and port 1: connection refused" in warning
    assert warning.endswith("certctl doctor a.example")
    assert list(root.rglob("*")) == []


@pytest.mark.parametrize("command", ["renew", "deploy"])
def test_a_path_that_is_broken_is_told_after_any_deployment(
    machine: Machine, tmp_path: Path, command: str
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    told = "; correct that, then check it with: certctl doctor"
    with webroot(machine, root, files_of(root)) as options:
        # the deployment takes the directory away that the server answers from
        breaking = f"test ! -e {tmp_path}/break || (rm -r {root} && touch {root})"
        for name in ("a.example", "b.example"):
            machine.issue(name, options={**options, "deploy.reload": breaking})
        idle = machine.renew(unattended=True)
        before = warnings(machine)
        (tmp_path / "break").touch()
        if command == "renew":
            machine.pass_time(timedelta(days=75))
            report = machine.renew(unattended=True)
        else:
            with machine.run() as run:
                report = deploy(run, (), pending=False)

    found = sorted(each.rpartition(": ")[2] for each in warnings(machine) if told in each)
    assert (idle.outcomes, before) == ((), [])
    assert (report.exit_status, found) == (
        0,
        ["certctl doctor a.example", "certctl doctor b.example"],
    )


def test_the_path_is_tried_at_this_machine_where_the_name_cannot_be_looked_up(
    machine: Machine, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with webroot(machine, root, files_of(root)) as options:
        machine.issue("a.example", options=options)
    nowhere = {"challenge.dns_resolver": f"127.0.0.1:{free_port()}"}

    with webroot(machine, root, say(301, Location="https://a.example:1/")) as options:
        machine.issue("a.example", options={**options, **nowhere, "deploy.reload": "true again"})

    (warning,) = warnings(machine)
    assert warning.startswith("the next renewal will fail, since a.example cannot be validated")


def test_a_deployment_to_nothing_does_not_try_the_path(machine: Machine, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with webroot(machine, root, files_of(root)) as options:
        machine.issue("a.example", options=options | {"deploy.reload": ""})
    with webroot(machine, root, say(404)) as options:
        machine.issue("a.example", options=options | {"deploy.reload": "", "reuse_key": True})

    assert warnings(machine) == []
