"""Root believes nothing in its home directory that another user could have written."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certctl.model import events
from certctl.store.home.audit import Audit
from certctl.store.home.permissions import permission_findings
from tests.support.command import certctl, certctl_process
from tests.support.homes import add_certificate
from tests.support.operations import Machine

OTHER, OTHER_GROUP = 65534, 65534
DAEMON = 1
"""A user of every Linux system, with a private group of the same name."""

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to others")
NAME = "a.example"

STATE = (
    "accounts",
    "archive",
    "certificates",
    "copies",
    "credentials",
    "deployed",
    "dev-ca",
    "hooks",
    "hooks/deploy.d",
    "journal",
    "live",
    "locks",
    "locks/accounts",
    "locks/certificates",
    "log",
    "pending",
    "renewal",
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    add_certificate(home, NAME)
    return home


def writable_by_a_group(path: Path) -> None:
    os.chown(path, -1, OTHER_GROUP)
    path.chmod(0o2775)


def of_another_user(path: Path) -> None:
    os.chown(path, OTHER, -1)


def sticky(path: Path) -> None:
    path.chmod(0o1777)


def with_an_access_control_list(path: Path) -> None:
    entries = [(1, 7, -1), (2, 7, OTHER), (4, 0, -1), (0x10, 7, -1), (0x20, 1, -1)]
    packed = b"".join(struct.pack("<HHi", *each) for each in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + packed)
    except OSError:
        pytest.skip("this file system has no access control lists")


def of_another_user_and_writable(path: Path) -> None:
    os.chown(path, OTHER, OTHER_GROUP)
    path.chmod(0o777)


WAYS = (
    writable_by_a_group,
    of_another_user,
    sticky,
    with_an_access_control_list,
    of_another_user_and_writable,
)


def corrected(stderr: str) -> None:
    """Type what the hint says; an hourly `renew` puts it at the end of its one line."""
    hint = re.search(r" hint: (.+)", stderr) or re.search(r"\(([^()]+)\)\n\Z", stderr)
    assert hint is not None, stderr
    subprocess.run(["/bin/sh", "-ec", hint[1]], check=True)


# The home directory, and what is above it.


@root_only
@pytest.mark.parametrize("way", WAYS)
def test_a_run_refuses_a_home_that_others_can_write_until_its_hint_is_followed(
    home: Path, way: Callable[[Path], None]
) -> None:
    way(home)

    refused = certctl("renew", home=home)

    assert (refused.exit_status, refused.stdout) == (2, "")
    assert f"error: {home} " in refused.stderr
    assert "who could make certctl run any command" in refused.stderr
    corrected(refused.stderr)
    assert certctl("renew", home=home).exit_status == 0


@root_only
@pytest.mark.parametrize("way", [writable_by_a_group, of_another_user])
def test_a_run_refuses_a_home_below_a_directory_that_others_can_write(
    tmp_path: Path, way: Callable[[Path], None]
) -> None:
    above = tmp_path / "above"
    home = above / "deep" / "home"
    add_certificate(home, NAME)
    way(above)

    refused = certctl("renew", home=home)

    assert refused.exit_status == 2
    assert f"error: {above} " in refused.stderr
    corrected(refused.stderr)
    assert certctl("renew", home=home).exit_status == 0


@root_only
def test_a_home_is_accepted_below_a_directory_where_users_cannot_replace_files_of_others(
    tmp_path: Path,
) -> None:
    (tmp_path / "tmp").mkdir()
    sticky(tmp_path / "tmp")
    add_certificate(tmp_path / "tmp" / "home", NAME)

    assert certctl("renew", home=tmp_path / "tmp" / "home").exit_status == 0


@root_only
def test_a_run_refuses_a_home_that_is_reached_by_the_link_of_another_user(
    home: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(home)
    os.chown(link, OTHER, -1, follow_symlinks=False)

    refused = certctl("renew", home=link)

    assert refused.exit_status == 2
    assert f"error: {link} belongs to user id {OTHER}" in refused.stderr
    corrected(refused.stderr)
    assert certctl("renew", home=link).exit_status == 0


@root_only
@pytest.mark.parametrize("command", ["issue b.example --ca dev --yes", "renew", "delete a.example"])
def test_nothing_is_written_to_a_home_that_others_can_write(home: Path, command: str) -> None:
    writable_by_a_group(home)
    before = sorted(home.rglob("*"))

    refused = certctl(*command.split(), home=home)

    assert (refused.exit_status, sorted(home.rglob("*"))) == (2, before)


# The directories in it.


@root_only
@pytest.mark.parametrize("name", STATE)
@pytest.mark.parametrize("way", [writable_by_a_group, of_another_user])
def test_a_run_refuses_each_directory_of_the_home_that_others_can_write(
    home: Path, name: str, way: Callable[[Path], None]
) -> None:
    (home / name).mkdir(parents=True, exist_ok=True)
    way(home / name)

    refused = certctl("renew", home=home)

    assert refused.exit_status == 2
    assert f"error: {home / name} " in refused.stderr
    corrected(refused.stderr)
    assert certctl("renew", home=home).exit_status == 0


@root_only
@pytest.mark.parametrize("name", ["locks", "log"])
@pytest.mark.parametrize("owner", [0, OTHER])
def test_a_link_in_place_of_a_directory_makes_nobody_write_elsewhere(
    home: Path, tmp_path: Path, name: str, owner: int
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(home / name, ignore_errors=True)
    (home / name).symlink_to(elsewhere)
    os.chown(home / name, owner, -1, follow_symlinks=False)

    refused = certctl("renew", "--force", home=home)
    verified = certctl("verify", "127.0.0.1:9", home=home)

    assert refused.exit_status == 2
    assert f"error: {home / name} " in refused.stderr
    assert f"warning: {home / name} " in verified.stderr
    assert list(elsewhere.iterdir()) == []


@root_only
def test_a_directory_that_root_keeps_on_another_disk_is_used(home: Path, tmp_path: Path) -> None:
    shutil.move(home / "archive", tmp_path / "disk")
    (home / "archive").symlink_to(tmp_path / "disk")

    assert certctl("renew", home=home).exit_status == 0
    of_another_user(tmp_path / "disk")
    assert certctl("renew", home=home).exit_status == 2


# What another user put there before.


def planted(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    os.chown(path, OTHER, OTHER_GROUP)


@root_only
def test_a_command_in_the_journal_that_another_user_wrote_is_never_run(
    home: Path, tmp_path: Path
) -> None:
    proof = tmp_path / "proof"
    entry = home / "journal" / "post-hooks-0123456789abcdef.json"
    planted(entry, {"version": 1, "commands": [f"touch {proof}"], "timeout": 60})

    ended = certctl("renew", home=home)

    assert (ended.exit_status, proof.exists()) == (0, False)
    assert f"warning: {entry} belongs to user id {OTHER}" in ended.stderr


@root_only
def test_a_command_in_the_journal_that_root_wrote_is_run(home: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    entry = home / "journal" / "post-hooks-0123456789abcdef.json"
    planted(entry, {"version": 1, "commands": [f"touch {proof}"], "timeout": 60})
    os.chown(entry, 0, 0)

    assert (certctl("renew", home=home).exit_status, proof.exists()) == (0, True)


@root_only
@pytest.mark.parametrize("planted_file", ["order.json", "privkey.pem", "."])
def test_a_key_in_a_pending_order_that_another_user_could_write_never_becomes_live(
    machine: Machine, planted_file: str
) -> None:
    machine.killed_at("finalize", "issue", NAME)
    pending = machine.home / "pending" / NAME
    key = (pending / "privkey.pem").read_bytes()
    os.chown(pending / planted_file, OTHER, -1)

    assert machine.issue(NAME).exit_status == 0

    live = machine.home / "live" / NAME / "privkey.pem"
    assert live.read_bytes() != key
    assert not pending.exists()


@root_only
@pytest.mark.parametrize("file", ["", "1", "1/issued.json"])
def test_a_version_that_another_user_could_write_stops_only_its_certificate(
    home: Path, file: str
) -> None:
    add_certificate(home, "b.example")
    os.chown(home / "archive" / NAME / file, OTHER, -1)

    ended = certctl("list", "--json", home=home)
    states = {each["name"]: each["state"] for each in ended.json()["data"]["certificates"]}

    assert states == {NAME: "unreadable", "b.example": "valid"}
    assert certctl("renew", NAME, "--force", home=home).exit_status == 2


@root_only
def test_a_log_directory_that_is_a_link_gets_no_audit_trail(home: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (home / "log").symlink_to(elsewhere)
    warnings: list[str] = []

    Audit(home, warnings.append).sink(events.Deployed(NAME, datetime.now(UTC), 1))

    assert list(elsewhere.iterdir()) == []
    assert [str(home / "log") in each for each in warnings] == [True]


@root_only
def test_dns_credentials_of_another_user_are_refused_since_they_can_name_commands(
    home: Path, tmp_path: Path
) -> None:
    proof = tmp_path / "proof"
    file = home / "credentials" / "work.toml"
    file.parent.mkdir()
    file.write_text(
        f'provider = "httpreq"\nendpoint = "http://[::1]:9"\n'
        f'username = "me"\npassword_command = "touch {proof}; echo x"\n'
    )
    file.chmod(0o600)
    os.chown(file, OTHER, -1)

    ended = certctl("dns", "test", NAME, "--dns-credentials", str(file), home=home)

    assert (ended.exit_status, proof.exists()) == (2, False)
    assert f"{file} belongs to user id {OTHER}" in ended.stderr


# What must go on.


@root_only
def test_commands_that_only_read_warn_and_answer(home: Path) -> None:
    writable_by_a_group(home)

    for command in ("list", "show a.example", "explain a.example", "metrics", "account show"):
        ended = certctl(*command.split(), home=home)

        assert (command, ended.exit_status) == (command, 0)
        assert f"warning: {home} can be written by other users, in group" in ended.stderr
        assert f"chmod go-w {home}" in ended.stderr


@root_only
def test_doctor_names_each_file_that_another_user_could_write(home: Path) -> None:
    writable_by_a_group(home)
    there = home / "renewal" / "planted.json"
    planted(there, {})

    found = list(permission_findings(home, []))

    assert [(each.code, each.subject, each.fix) for each in found] == [
        ("home.writable", str(home), f"chmod go-w {home}"),
        (
            "home.writable",
            str(there),
            f"Remove it: rm {there}. If you know its contents: chown root {there}",
        ),
    ]


@root_only
def test_a_key_group_reads_its_keys_and_runs_go_on(machine: Machine) -> None:
    machine.issue(NAME, options={"key_group": "daemon"})
    machine.home.parent.chmod(0o755)

    assert certctl("renew", home=machine.home).exit_status == 0
    facts = (machine.home / "archive" / NAME / "1" / "privkey.pem").stat()
    assert (facts.st_mode & 0o777, facts.st_gid) == (0o640, DAEMON)


def test_the_home_that_the_development_ca_creates_lets_a_key_group_through(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"

    certctl("dev-ca", "root", home=home)

    assert {path.name: path.stat().st_mode & 0o777 for path in (home, home / "dev-ca")} == {
        "home": 0o711,
        "dev-ca": 0o700,
    }


@root_only
@pytest.mark.parametrize("place", [".", "root.key", "root.pem"])
def test_the_root_of_a_development_ca_that_another_user_could_have_written_is_not_printed(
    tmp_path: Path, place: str
) -> None:
    state = tmp_path / "state"
    assert certctl("dev-ca", "root", "--state", str(state), home=tmp_path / "home").exit_status == 0
    (state / place).exists() or pytest.fail(f"there is no {place}")
    os.chown(state / place, OTHER, -1)
    if place == "root.key":
        (state / "root.pem").unlink()

    ended = certctl("dev-ca", "root", "--state", str(state), home=tmp_path / "home")

    assert (ended.exit_status != 0, ended.stdout) == (True, "")
    assert f"belongs to user id {OTHER}" in ended.stderr


# Users other than root.


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that other users may enter; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory(prefix="certctl-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def renew_as(user: int, home: Path, *command: str) -> tuple[int, str]:
    """Run `renew` or another command as another user; return its exit status and standard error."""
    if sys.platform != "linux" or shutil.which("setpriv") is None:
        pytest.skip("setpriv is needed to give up root")
    prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]
    ended = subprocess.run(
        [*prefix, sys.executable, "-m", "certctl", *(command or ("renew",))],
        env={**os.environ, "CERTCTL_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stderr


def give(path: Path, user: int) -> None:
    for each in (path, *path.rglob("*")):
        os.chown(each, user, user, follow_symlinks=False)


@root_only
def test_another_user_is_asked_the_same_of_a_home(reachable: Path) -> None:
    home = reachable / "theirs" / "home"
    add_certificate(home, NAME)
    give(home, DAEMON)
    assert renew_as(DAEMON, home)[0] == 0

    os.chown(reachable / "theirs", OTHER, -1)
    status, error = renew_as(DAEMON, home)
    assert (status, f"{reachable / 'theirs'} belongs to user id {OTHER}" in error) == (2, True)
    os.chown(reachable / "theirs", 0, -1)

    (home / "journal").mkdir(exist_ok=True)
    os.chown(home / "journal", OTHER, -1)
    status, error = renew_as(DAEMON, home)
    assert (status, f"chown daemon {home / 'journal'}" in error) == (2, True)


@root_only
def test_the_private_group_of_a_user_may_write_and_any_other_may_not(reachable: Path) -> None:
    home = reachable / "home"
    add_certificate(home, NAME)
    give(home, DAEMON)
    home.chmod(0o775)
    assert renew_as(DAEMON, home)[0] == 0

    os.chown(home, -1, OTHER_GROUP)
    status, error = renew_as(DAEMON, home)
    assert (status, f"chmod go-w {home}" in error) == (2, True)


@root_only
def test_a_hook_that_a_shared_group_can_write_is_refused_for_another_user_too(
    reachable: Path,
) -> None:
    home = reachable / "home"
    add_certificate(home, NAME)
    hook = home / "hooks" / "deploy.d" / "reload"
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/sh\n")
    give(home, DAEMON)
    os.chown(hook, -1, OTHER_GROUP)
    hook.chmod(0o775)

    status, error = renew_as(DAEMON, home, "deploy", NAME)

    assert (status, f"chmod go-w {hook}" in error) == (4, True)


# Pipes, which would have to be waited for.


@pytest.mark.parametrize("file", [f"renewal/{NAME}.json", f"deployed/{NAME}.json", "run.json"])
def test_a_pipe_in_place_of_a_state_that_can_be_lost_stops_nothing(home: Path, file: str) -> None:
    (home / file).unlink(missing_ok=True)
    os.mkfifo(home / file, 0o600)

    assert certctl_process("list", home=home).exit_status == 0


# The log file.


@root_only
@pytest.mark.parametrize("planted_link", ["logs/certctl.log", "logs"])
def test_a_link_of_another_user_does_not_lead_the_log_elsewhere(
    home: Path, tmp_path: Path, planted_link: str
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    logs = tmp_path / "logs"
    logs.mkdir() if planted_link != "logs" else None
    link = tmp_path / planted_link
    link.symlink_to(victim / "file" if planted_link != "logs" else victim)
    os.chown(link, OTHER, -1, follow_symlinks=False)

    ended = certctl("renew", "--log-file", str(logs / "certctl.log"), home=home)

    assert (ended.exit_status, list(victim.iterdir())) == (2, [])
    assert f"{link} belongs to user id {OTHER}" in ended.stderr


def test_the_log_goes_where_a_link_of_ones_own_leads(home: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")

    assert certctl("renew", "--log-file", str(tmp_path / "link"), home=home).exit_status == 0
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_a_pipe_that_nobody_reads_is_no_log_file(home: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    ended = certctl("renew", "--log-file", str(tmp_path / "pipe"), home=home)

    assert ended.exit_status == 2
    assert f"the log file {tmp_path}/pipe cannot be written" in ended.stderr


@pytest.mark.parametrize("device", ["/dev/stdout", "/dev/null"])
def test_the_log_may_go_to_a_device(home: Path, device: str) -> None:
    ended = certctl_process("renew", "--log-file", device, home=home)

    assert ended.exit_status == 0
