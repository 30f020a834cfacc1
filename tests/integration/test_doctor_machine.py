"""What `doctor` finds on the machine itself: files, hooks, disk, schedule, and certificates."""

import grp
import os
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certctl.deploy.hook_checks import alert_findings, command_findings, directory_findings
from certctl.engine.run import Run
from certctl.engine.services import Services
from certctl.inspection.certificate_findings import state_findings
from certctl.inspection.machine_findings import schedule_findings, space_findings
from certctl.inspection.scheduled import MachineContext
from certctl.model.certificate import LastError, RenewalState
from certctl.model.run import Finding
from certctl.model.spec import CertificateSpec
from certctl.model.values import Value
from certctl.rules.settings import Settings
from certctl.store.home.permissions import permission_findings
from certctl.store.home.tree import LocalTree
from certctl.system.space import DiskSpace, disk_space_at
from certctl.system.timers import timers_for, user_crontab
from tests.lab.clock import SteerableClock
from tests.support import nouns
from tests.support.homes import add_certificate
from tests.support.local_store import LocalStore
from tests.support.nouns import tried
from tests.support.operations import executable

NAME = "a.example"
DAY = timedelta(days=1)
NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def wanted(name: str, chosen: Mapping[str, Value] | None = None) -> CertificateSpec:
    """The spec of a certificate that is called like its only name."""
    return replace(nouns.wanted(name, chosen), name=name)


def told(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(each.code, each.subject) for each in findings]


def open_run(home: Path) -> Run:
    clock = SteerableClock(datetime.now(UTC))
    settings = Settings()
    store = LocalStore(home, settings, clock)
    return Run(
        Services(
            records=store.records,
            machine=store.machine,
            tree=LocalTree(home),
            clock=clock,
            settings=settings,
            emit=lambda _event: None,
            ask=lambda _question: None,
        )
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with one certificate in it."""
    home = tmp_path / "home"
    add_certificate(home, NAME)
    return home


# Owners and modes


def test_a_home_as_certctl_makes_it_has_nothing_wrong(home: Path) -> None:
    assert told(permission_findings(home, [wanted(NAME)])) == []


def test_a_home_that_is_not_there_yet_is_good_to_know(tmp_path: Path) -> None:
    (found,) = permission_findings(tmp_path / "none", [])

    assert (found.code, found.severity) == ("home.missing", "info")


def test_keys_that_others_can_read_are_told_with_the_command_that_mends_it(home: Path) -> None:
    key = home / "archive" / NAME / "1" / "privkey.pem"
    key.chmod(0o644)

    (found,) = permission_findings(home, [wanted(NAME)])

    assert (found.code, found.severity, found.subject) == ("key.mode", "error", str(key))
    assert found.fix is not None
    command, _, more = found.fix.partition("; ")
    assert command == f"chmod 600 {key}"
    assert more == (
        "if anyone else may have read the key, also replace it:"
        f" certctl revoke {NAME} --reason keyCompromise --replace"
    )
    subprocess.run(shlex.split(command), check=True)
    assert told(permission_findings(home, [wanted(NAME)])) == []


def test_keys_of_accounts_and_of_orders_under_way_count_too(home: Path) -> None:
    account = home / "accounts" / "ca.example" / "1"
    pending = home / "pending" / NAME
    for path in (account / "key.pem", pending / "privkey.pem", pending / "order.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.chmod(0o640)

    assert sorted(told(permission_findings(home, []))) == [
        ("key.mode", str(account / "key.pem")),
        ("key.mode", str(pending / "privkey.pem")),
    ]


def test_what_others_could_write_is_told(home: Path) -> None:
    hook = home / "hooks" / "deploy.d" / "10-reload"
    executable(hook, "true")
    hook.chmod(0o777)
    spec = home / "certificates" / f"{NAME}.toml"
    spec.chmod(0o666)

    found = list(permission_findings(home, []))

    assert told(found) == [("home.writable", str(spec)), ("home.writable", str(hook))]
    assert all(each.fix for each in found)


@AS_ROOT
def test_a_key_of_somebody_else_is_told(home: Path) -> None:
    key = home / "archive" / NAME / "1" / "privkey.pem"
    os.chown(key, NOBODY, -1)

    (found,) = permission_findings(home, [wanted(NAME)])

    assert (found.code, found.fix) == ("key.owner", f"chown 0 {key}")


def test_a_group_that_may_read_the_keys_must_exist_and_be_let_through(home: Path) -> None:
    missing = wanted(NAME, {"key_group": "no-such-group"})
    there = wanted(NAME, {"key_group": "daemon"})
    home.chmod(0o700)

    (first,) = permission_findings(home, [missing])
    (second,) = permission_findings(home, [there])

    assert (first.code, first.severity) == ("key.group", "error")
    assert first.fix == f"groupadd no-such-group, or: certctl edit {NAME} --key-group NAME"
    assert (second.code, second.fix) == ("home.closed", f"chmod 711 {home}")


@AS_ROOT
def test_a_group_reads_keys_only_where_the_spec_names_it(home: Path) -> None:
    key = home / "archive" / NAME / "1" / "privkey.pem"
    os.chown(key, -1, grp.getgrnam("daemon").gr_gid)
    key.chmod(0o640)

    named = permission_findings(home, [wanted(NAME, {"key_group": "daemon"})])
    other = permission_findings(home, [wanted(NAME, {"key_group": "mail"})])
    none = permission_findings(home, [wanted(NAME)])

    assert told(named) == []
    assert told(other) == [("key.mode", str(key))]
    assert told(none) == [("key.mode", str(key))]


# Hooks


def hooks(tmp_path: Path, **commands: str) -> list[tuple[str, str]]:
    """What is found wrong with the commands of a spec: the code and the severity."""
    chosen = {f"deploy.{kind}": command for kind, command in commands.items()}
    found = command_findings(wanted(NAME, chosen), {"PATH": str(tmp_path)})
    return [(each.code, str(each.severity)) for each in found]


@pytest.mark.parametrize(
    "command",
    [
        "true",
        "/bin/sh -c 'exit 1'",
        "A=b ls | wc -l",
        "systemctl reload x || true" if Path("/bin/systemctl").exists() else "ls",
        "for each in a b; do echo $each; done",
        "[ -e /x ] && ls",
        "$COMMAND",
        "# nothing but a comment",
    ],
)
def test_a_command_that_is_there_is_no_finding(tmp_path: Path, command: str) -> None:
    assert hooks(tmp_path, deploy_hook=command) == []


@pytest.mark.parametrize("kind", ["pre_hook", "deploy_hook", "reload", "post_hook"])
def test_a_command_that_is_not_there_is_told_for_each_kind_of_hook(
    tmp_path: Path, kind: str
) -> None:
    assert hooks(tmp_path, **{kind: "certctl-no-such-command --now"}) == [("hook.missing", "error")]


def test_a_command_that_is_missing_cannot_be_run_or_makes_no_sense_is_told(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")

    assert hooks(tmp_path, reload=f"{tmp_path}/none --now") == [("hook.missing", "error")]
    assert hooks(tmp_path, reload="./relative") == [("hook.missing", "error")]
    assert hooks(tmp_path, reload=str(plain)) == [("hook.not_executable", "error")]
    assert hooks(tmp_path, reload="echo 'open") == [("hook.syntax", "warning")]


def test_the_fix_names_the_option_or_the_file_that_has_the_command() -> None:
    (edit,) = command_findings(wanted(NAME, {"deploy.pre_hook": "/none"}), {})
    (alert,) = alert_findings("/none --now", {})

    assert edit.fix == (
        "Install it, or call a different program."
        f" Change the pre hook: certctl edit {NAME} --pre-hook COMMAND"
    )
    assert (alert.code, alert.subject) == ("hook.missing", "certctl.toml")
    assert alert.fix == (
        "Install it, or call a different program. Change on_failure_hook in certctl.toml"
    )
    assert list(alert_findings("true", {})) == [] == list(alert_findings(None, {}))


def test_a_program_that_others_could_change_is_told(tmp_path: Path) -> None:
    script = tmp_path / "script"
    executable(script, "true")
    script.chmod(0o777)

    assert hooks(tmp_path, reload=str(script)) == [("hook.writable", "warning")]


def test_hook_files_that_are_never_run_are_reported(home: Path) -> None:
    directory = home / "hooks" / "deploy.d"
    executable(directory / "10-good", "true")
    (directory / "20-plain").write_text("#!/bin/sh\n")
    (directory / "30-away").symlink_to("/nowhere")
    (directory / "40-old~").write_text("#!/bin/sh\n")
    (directory / "sub").mkdir()

    found = list(directory_findings(home))

    assert told(found) == [
        ("hook.not_executable", str(directory / "20-plain")),
        ("hook.missing", str(directory / "30-away")),
    ]
    assert found[0].fix == (
        f"Give it a name that ends in ~, or make it executable: chmod +x {directory / '20-plain'}"
    )


# The disk


@pytest.mark.parametrize(
    ("space", "found"),
    [
        (None, []),
        (DiskSpace(10**10, 10**6), []),
        (DiskSpace(10**10, None), []),
        (DiskSpace(50 * 2**20, 10**6), [("disk.space", "warning")]),
        (DiskSpace(2**20, 10**6), [("disk.space", "error")]),
        (DiskSpace(10**10, 500), [("disk.files", "warning")]),
        (DiskSpace(0, 0), [("disk.space", "error"), ("disk.files", "error")]),
    ],
)
def test_too_little_room_is_told(space: DiskSpace | None, found: list[tuple[str, str]]) -> None:
    findings = space_findings(Path("/etc/certctl"), space)

    assert [(each.code, str(each.severity)) for each in findings] == found


def test_the_room_is_that_of_the_nearest_directory_that_is_there(tmp_path: Path) -> None:
    facts = os.statvfs(tmp_path)

    space = disk_space_at(tmp_path / "not" / "there")

    assert space is not None
    assert 0 < space.free <= facts.f_blocks * facts.f_frsize


# The schedule


def schedule(
    home: Path, root: Path, *runs: timedelta, variables: Mapping[str, str] | None = None
) -> list[Finding]:
    """What is found where `renew` ran these times ago, on a machine with this file system."""
    with open_run(home) as run:
        now = run.services.clock.now()
        for ago in runs:
            run.services.machine.record_run(now - ago, 0)
        machine = MachineContext(variables or {}, root, ask_crontab=False)
        records = run.services.records
        specs = [records.spec(name) for name in records.names()]
        return list(schedule_findings(machine, specs, run))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def with_timer(root: Path, *, enabled: bool = True) -> Path:
    units = root / "etc/systemd/system"
    timer = write(units / "certctl.timer", "[Timer]\nOnCalendar=hourly\n")
    write(units / "certctl.service", "[Service]\nExecStart=/usr/bin/certctl renew --quiet\n")
    if enabled:
        link = units / "timers.target.wants" / "certctl.timer"
        link.parent.mkdir(parents=True)
        link.symlink_to(timer)
    return timer


def test_nothing_that_runs_renew_is_told(home: Path, tmp_path: Path) -> None:
    (found,) = schedule(home, tmp_path)

    assert (found.code, found.severity) == ("schedule.missing", "warning")


def test_without_certificates_nothing_has_to_run(tmp_path: Path) -> None:
    assert schedule(tmp_path / "empty", tmp_path) == []


def test_runs_that_take_place_are_good_whatever_it_is_that_runs_them(
    home: Path, tmp_path: Path
) -> None:
    assert schedule(home, tmp_path, timedelta(hours=2), timedelta(hours=1)) == []


def test_runs_that_ended_are_told_with_what_should_have_run_them(
    home: Path, tmp_path: Path
) -> None:
    timer = with_timer(tmp_path)

    (found,) = schedule(home, tmp_path, 5 * DAY)

    assert (found.code, found.severity, found.subject) == ("schedule.idle", "warning", str(timer))
    assert found.message.endswith("; the last scheduled run was 5 days ago")


def test_a_timer_that_has_not_run_yet_is_good_to_know(home: Path, tmp_path: Path) -> None:
    with_timer(tmp_path)

    (found,) = schedule(home, tmp_path)

    assert (found.code, found.severity) == ("schedule.idle", "info")


def test_a_timer_that_is_not_enabled_is_told(home: Path, tmp_path: Path) -> None:
    timer = with_timer(tmp_path, enabled=False)
    mine = tmp_path / "person/.config/systemd/user/certctl.timer"
    write(mine, "[Timer]\n")
    write(mine.with_suffix(".service"), "[Service]\nExecStart=certctl renew\n")

    found = schedule(home, tmp_path, variables={"HOME": str(tmp_path / "person")})

    assert told(found) == [("schedule.disabled", str(timer))]
    timer.unlink()
    (own,) = schedule(home, tmp_path, variables={"HOME": str(tmp_path / "person")})
    assert own.fix == "systemctl --user enable --now certctl.timer"


def test_runs_that_are_too_far_apart_for_a_short_lifetime_are_told(
    home: Path, tmp_path: Path
) -> None:
    every_thirty_days = [DAY * each for each in (91, 61, 31, 1)]

    (found,) = schedule(home, tmp_path, *every_thirty_days)

    assert (found.code, found.subject) == ("schedule.interval", NAME)
    assert found.message == (
        "`certctl renew` runs every 720.0 hours, but the time for renewal is only 360.0 hours long"
    )


@pytest.mark.parametrize(
    ("path", "text", "runs"),
    [
        ("etc/cron.d/certctl", "17 * * * * root certctl renew\n", True),
        ("etc/cron.d/certctl", "17 * * * * root /opt/bin/certctl --quiet renew; true\n", True),
        ("etc/crontab", "@hourly root python3 -m certctl renew\n", True),
        ("etc/cron.hourly/certctl", "#!/bin/sh\nexec certctl renew\n", True),
        ("var/spool/cron/crontabs/root", "@hourly certctl renew\n", True),
        ("etc/cron.d/certctl", "# 17 * * * * root certctl renew\n", False),
        ("etc/cron.d/certctl.dpkg-old", "17 * * * * root certctl renew\n", False),
        ("etc/cron.d/backup", "17 * * * * root tar cf /b /etc/certctl\n", False),
        ("etc/cron.d/other", "17 * * * * root mycertctl renew\n", False),
        ("etc/systemd/system/x.service", "ExecStart=/usr/bin/certctl renew\n", False),
    ],
)
def test_what_runs_a_command_is_found_where_cron_and_systemd_look(
    tmp_path: Path, path: str, text: str, runs: bool
) -> None:
    file = write(tmp_path / path, text)

    found = timers_for(("certctl", "renew"), root=tmp_path)

    assert [each.where for each in found] == ([str(file)] if runs else [])


def test_a_timer_may_name_another_service_than_its_own(tmp_path: Path) -> None:
    units = tmp_path / "usr/lib/systemd/system"
    timer = write(units / "often.timer", "[Timer]\nUnit=certificates.service\n")
    write(units / "certificates.service", "[Service]\nExecStart=certctl renew\n")

    assert [each.where for each in timers_for(("certctl", "renew"), root=tmp_path)] == [str(timer)]


def test_this_users_own_crontab_is_asked_for(tmp_path: Path) -> None:
    program = tmp_path / "crontab"
    executable(program, '[ "$1" = -l ] && echo "@hourly certctl renew"')

    found = user_crontab(("certctl", "renew"), program=str(program))

    assert found is not None
    assert found.where.startswith("the crontab of ")
    assert user_crontab(("another", "command"), program=str(program)) is None
    executable(program, "echo 'no crontab, not even @hourly certctl renew'; exit 1")
    assert user_crontab(("certctl", "renew"), program=str(program)) is None
    assert user_crontab(("certctl", "renew"), program="certctl-no-such-crontab") is None


# The certificates


def states(home: Path) -> list[Finding]:
    with open_run(home) as run:
        return list(state_findings(run.services.records.names(), run))


def test_certificates_that_are_well_are_no_finding(home: Path) -> None:
    assert states(home) == []


def test_certificates_that_are_not_well_are_told_with_the_command_for_it(tmp_path: Path) -> None:
    home, now = tmp_path / "home", datetime.now(UTC)
    error = LastError("acme.rate_limited", "too many", now, "rate_limited", hint="Wait.")
    failed = tried(2, last_error=error, retry_at=now + DAY)
    add_certificate(home, "expired.example", age=91 * DAY)
    add_certificate(home, "failing.example", age=70 * DAY, renewal_state=failed)
    add_certificate(home, "undeployed.example", deployed=False)
    add_certificate(home, "revoked.example", renewal_state=RenewalState(revoked=(1,)))
    add_certificate(home, "stopped.example", chosen={"autorenew": False})
    add_certificate(home, "missing.example")
    (home / "live" / "missing.example").unlink()
    add_certificate(home, "damaged.example")
    (home / "live" / "damaged.example" / "privkey.pem").unlink()

    found = {each.code: each for each in states(home)}

    assert {code: str(each.severity) for code, each in found.items()} == {
        "certificate.expired": "error",
        "certificate.failing": "error",
        "certificate.damaged": "error",
        "certificate.missing": "warning",
        "certificate.undeployed": "error",
        "certificate.revoked": "error",
        "certificate.stopped": "info",
    }
    assert found["certificate.failing"].message == "its renewal fails: too many"
    assert found["certificate.failing"].fix == "Wait."
    assert found["certificate.undeployed"].fix == "certctl deploy undeployed.example"
    assert found["certificate.expired"].fix == "certctl renew expired.example"
