"""What is at the destination of a copy, an export or the metrics: a pair changes as a whole or not
at all, and what is no regular file is never replaced.
"""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from certctl.deploy import copies
from certctl.model.errors import ConfigurationError
from certctl.model.spec import CopyFormat, CopySpec
from certctl.system.destinations import is_mount_point, not_replaceable, open_stream
from tests.support.command import certctl, certctl_process
from tests.support.homes import add_certificate
from tests.support.operations import Machine

NAME = "a.example"
ROOT = os.geteuid() == 0


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A directory outside the home directory."""
    directory = tmp_path / "there"
    directory.mkdir()
    return directory


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """Mounts a file on another one, as container runtimes do; returns the file that is mounted."""
    mounted: list[Path] = []

    def bind(path: Path) -> Path:
        source = tmp_path / f"source of {path.name}"
        source.write_bytes(path.read_bytes() if path.exists() else b"old\n")
        path.touch()
        done = subprocess.run(
            ["mount", "--bind", source, path], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"files cannot be mounted here: {done.stderr.strip()}")
        mounted.append(path)
        return source

    yield bind
    for path in mounted:
        subprocess.run(["umount", path], check=True)


@pytest.fixture
def immutable() -> Iterator[Callable[[Path], None]]:
    """Makes files immutable until the end of the test."""
    changed: list[Path] = []

    def change(path: Path) -> None:
        done = subprocess.run(["chattr", "+i", path], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"files cannot be made immutable here: {done.stderr.strip()}")
        changed.append(path)

    yield change
    for path in changed:
        subprocess.run(["chattr", "-i", path], check=True)


def issue(machine: Machine, *values: str, **options: object) -> int:
    flags: dict[str, object] = {"deploy.copy": values, **options}
    return int(machine.issue(NAME, options=flags).exit_status)  # type: ignore[arg-type]


def contents(directory: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in sorted(directory.iterdir())}


# A pair


def test_a_mount_point_is_refused_before_anything_is_ordered_with_the_way_out(
    machine: Machine, there: Path, mount: Callable[[Path], Path]
) -> None:
    mount(there / "cert.pem")
    pair = (f"privkey:{there}/key.pem", f"fullchain:{there}/cert.pem")

    with pytest.raises(ConfigurationError, match=r"cert\.pem is a mount point") as refused:
        issue(machine, *pair)

    assert refused.value.hint is not None
    assert f"--copy fullchain:{there}/cert.pem,in-place" in refused.value.hint
    assert machine.ca.count("new-order") == 0
    assert contents(there) == {"cert.pem": b"old\n"}


@pytest.mark.parametrize("order", [("key", "cert"), ("cert", "key")])
def test_if_one_of_a_pair_became_a_mount_point_neither_is_changed(
    machine: Machine, there: Path, mount: Callable[[Path], Path], order: tuple[str, str]
) -> None:
    formats = {"key": "privkey", "cert": "fullchain"}
    issue(machine, *(f"{formats[each]}:{there}/{each}.pem" for each in order))
    before = contents(there)
    mount(there / "cert.pem")

    failed = machine.renew(force=True)

    assert failed.exit_status == 4
    assert "is a mount point" in str(failed.all_errors[0])
    assert contents(there) == before


def test_an_immutable_file_leaves_the_other_one_of_a_pair_unchanged(
    machine: Machine, there: Path, immutable: Callable[[Path], None]
) -> None:
    issue(machine, f"privkey:{there}/key.pem", f"fullchain:{there}/cert.pem")
    before = contents(there)
    immutable(there / "cert.pem")

    failed = machine.renew(force=True)

    assert failed.exit_status == 4
    assert "is immutable" in str(failed.all_errors[0])
    assert "chattr -i" in str(getattr(failed.all_errors[0], "hint", ""))
    assert contents(there) == before


def test_copies_that_were_renamed_are_put_back_if_a_later_one_cannot_be(
    machine: Machine, there: Path
) -> None:
    issue(machine, f"privkey:{there}/key.pem", f"fullchain:{there}/cert.pem", f"cert:{there}/x")
    before = contents(there)
    facts = {each: (there / each).stat().st_ino for each in before}
    (there / "key.pem").unlink()
    del before["key.pem"]

    # A rename that fails where nobody can know it beforehand.
    done = machine.finish(
        machine.start("renew", "--force", NAME, program=failing("rename", "x", there))
    )

    assert done.exit_status == 4, done.stderr
    assert "cannot rename to" in done.stderr
    assert contents(there) == before
    assert {each: (there / each).stat().st_ino for each in before} == {
        each: inode for each, inode in facts.items() if each in before
    }


FAILING = """
import errno, os, sys
call, name, directory, *arguments = sys.argv[1:]
def fail(event, facts):
    if event != f"os.{call}" or os.path.basename(os.fspath(facts[1])) != name:
        return
    within = os.path.dirname(os.fspath(facts[1])) if facts[-1] < 0 else facts[-1]
    if os.path.samestat(os.stat(within), os.stat(directory)):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
sys.addaudithook(fail)
from certctl.cli.main import main
sys.exit(main(arguments))
"""
"""A program: certctl, for which one call on one file fails."""


def failing(call: str, name: str, directory: Path) -> tuple[str, ...]:
    return (sys.executable, "-c", FAILING, call, name, str(directory))


def test_a_file_that_must_be_written_in_place_is_and_keeps_what_it_is(
    machine: Machine, there: Path, mount: Callable[[Path], Path]
) -> None:
    (there / "cert.pem").write_bytes(b"x" * 100_000)
    source = mount(there / "cert.pem")
    source.chmod(0o604)
    inode = source.stat().st_ino

    status = issue(machine, f"privkey:{there}/key.pem", f"fullchain:{there}/cert.pem,in-place")
    machine.renew(force=True)

    live = machine.home / "live" / NAME
    assert status == 0
    assert source.read_bytes() == (live / "fullchain.pem").read_bytes()
    assert (there / "key.pem").read_bytes() == (live / "privkey.pem").read_bytes()
    assert (source.stat().st_ino, stat.S_IMODE(source.stat().st_mode)) == (inode, 0o604)
    assert sorted(contents(there)) == ["cert.pem", "key.pem"]
    assert list((machine.home / "journal").glob("*")) == []


def test_a_read_only_mount_cannot_be_written_in_place_either(
    machine: Machine, there: Path, mount: Callable[[Path], Path]
) -> None:
    mount(there / "cert.pem")
    subprocess.run(["mount", "-o", "remount,bind,ro", there / "cert.pem"], check=True)

    with pytest.raises(ConfigurationError, match=r"cert\.pem is not writable"):
        issue(machine, f"fullchain:{there}/cert.pem,in-place")

    assert machine.ca.count("new-order") == 0


def test_a_key_written_in_place_is_not_left_readable_for_all(machine: Machine, there: Path) -> None:
    (there / "key.pem").write_text("old")
    (there / "key.pem").chmod(0o644)

    issue(machine, f"privkey:{there}/key.pem,in-place")

    assert stat.S_IMODE((there / "key.pem").stat().st_mode) == 0o640


def test_what_does_not_exist_yet_is_created_also_if_it_is_to_be_written_in_place(
    machine: Machine, there: Path
) -> None:
    issue(machine, f"privkey:{there}/key.pem,in-place")

    assert stat.S_IMODE((there / "key.pem").stat().st_mode) == 0o600


def test_what_was_written_in_place_is_put_back_if_the_other_of_a_pair_fails(
    machine: Machine, there: Path
) -> None:
    issue(machine, f"privkey:{there}/key.pem,in-place", f"fullchain:{there}/cert.pem")
    before = contents(there)

    done = machine.finish(
        machine.start("renew", "--force", NAME, program=failing("rename", "cert.pem", there))
    )

    assert done.exit_status == 4, done.stderr
    assert contents(there) == before
    assert list((machine.home / "journal").glob("*")) == []


def test_what_a_kill_left_half_written_is_put_back_even_if_the_deployment_fails_again(
    machine: Machine, there: Path
) -> None:
    issue(machine, f"privkey:{there}/key.pem,in-place", f"fullchain:{there}/cert.pem")
    before = contents(there)
    machine.flags["deploy.copy"] = ()

    machine.killed_before_rename(f"../{there.name}/cert.pem", "renew", "--force")
    half = {name: data for name, data in contents(there).items() if name in before}
    done = machine.finish(
        machine.start("renew", NAME, program=failing("rename", "cert.pem", there))
    )

    assert half["key.pem"] != before["key.pem"]
    assert half["cert.pem"] == before["cert.pem"]
    assert done.exit_status == 4, done.stderr
    assert contents(there) == before
    assert list((machine.home / "journal").glob("*")) == []


def test_a_deployment_that_was_killed_between_a_pair_is_completed_by_the_next_run(
    machine: Machine, there: Path
) -> None:
    issue(machine, f"privkey:{there}/key.pem,in-place", f"fullchain:{there}/cert.pem")
    machine.flags["deploy.copy"] = ()

    machine.killed_before_rename(f"../{there.name}/cert.pem", "renew", "--force")
    machine.renew()

    live = machine.home / "live" / NAME
    assert (there / "key.pem").read_bytes() == (live / "privkey.pem").read_bytes()
    assert (there / "cert.pem").read_bytes() == (live / "fullchain.pem").read_bytes()
    assert list((machine.home / "journal").glob("*")) == []


def test_copies_on_a_file_system_without_hard_links_are_put_back_too(there: Path) -> None:
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "def fail(event, facts):\n"
        "    if event == 'os.link': raise PermissionError(1, 'no hard links')\n"
        "    if event == 'os.rename' and os.fspath(facts[1]) == 'b': raise OSError(5, 'failed')\n"
        "sys.addaudithook(fail)\n"
        "from certctl.deploy.copies import Staged, commit\n"
        "from certctl.model.spec import CopyFormat, CopySpec\n"
        "there = Path(sys.argv[1])\n"
        "spec = CopySpec('/x', CopyFormat.CERT)\n"
        "commit([Staged(there / f'.new-{each}-00000000', there / each, spec, b'')"
        " for each in 'ab'])\n"
    )
    for name, text in (("a", "old a"), ("b", "old b")):
        (there / name).write_text(text)
        (there / name).chmod(0o640)
        (there / f".new-{name}-00000000").write_text("new")

    done = subprocess.run(
        [sys.executable, "-c", program, there], capture_output=True, text=True, check=False
    )

    assert "cannot rename to" in done.stderr
    assert ((there / "a").read_text(), (there / "b").read_text()) == ("old a", "old b")
    assert stat.S_IMODE((there / "a").stat().st_mode) == 0o640


@pytest.mark.skipif(not ROOT, reason="only root may give files to others")
def test_a_file_in_place_that_was_given_to_another_user_is_written_again(
    machine: Machine, there: Path
) -> None:
    (there / "key.pem").write_text("old")

    issue(machine, f"privkey:{there}/key.pem,in-place,owner=54321,group=54321,mode=0440")
    renewed = machine.renew(force=True)

    live = machine.home / "live" / NAME
    assert renewed.exit_status == 0
    assert (there / "key.pem").read_bytes() == (live / "privkey.pem").read_bytes()
    assert (there / "key.pem").stat().st_uid == 54321


@pytest.mark.skipif(not ROOT, reason="only root can give a directory to another user")
def test_a_link_into_a_directory_of_another_user_is_not_followed_in_place(
    machine: Machine, there: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 54321, 54321)
    (theirs / "key.pem").touch()
    (there / "key.pem").symlink_to(theirs / "key.pem")

    with pytest.raises(ConfigurationError, match="theirs belongs to user id 54321"):
        issue(machine, f"privkey:{there}/key.pem,in-place")


# Devices


@pytest.fixture
def devices(tmp_path: Path) -> dict[str, Path]:
    """What is no regular file: made for the test, so that nobody's machine is broken."""
    directory = tmp_path / "devices"
    directory.mkdir()
    found = {name: directory / name for name in ("pipe", "socket", "directory", "loop", "link")}
    os.mkfifo(found["pipe"])
    found["link"].symlink_to(found["pipe"])
    found["loop"].symlink_to(found["loop"])
    found["directory"].mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(found["socket"]))
    if ROOT:
        found["device"] = directory / "null"
        os.mknod(found["device"], 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        found["link to a device"] = directory / "to-null"
        found["link to a device"].symlink_to(found["device"])
    found["stream"] = directory / "stdout"
    found["stream"].symlink_to("/proc/self/fd/1")
    return found


def kinds(paths: dict[str, Path]) -> dict[Path, int]:
    return {each: stat.S_IFMT(each.lstat().st_mode) for each in paths.values()}


def test_a_copy_never_replaces_what_is_no_regular_file(
    machine: Machine, devices: dict[str, Path]
) -> None:
    before = kinds(devices)
    for name, path in devices.items():
        if name in {"directory", "loop"}:
            continue
        for more in ("", ",in-place"):
            with pytest.raises(ConfigurationError) as refused:
                issue(machine, f"privkey:{path}{more}")
            assert refused.value.code == "deploy.copy"

    assert kinds(devices) == before
    assert machine.ca.count("new-order") == 0


@pytest.mark.parametrize("command", [("export", NAME), ("metrics",)])
def test_nothing_that_is_no_regular_file_is_replaced_by_an_output(
    tmp_path: Path, devices: dict[str, Path], command: tuple[str, ...]
) -> None:
    home = tmp_path / "home"
    add_certificate(home, NAME)
    before = kinds(devices)
    force = ("--force",) if command[0] == "export" else ()

    ended = {
        name: certctl(*command, "--out", str(path), *force, home=home)
        for name, path in devices.items()
    }

    assert {name: each.exit_status for name, each in ended.items() if each.exit_status != 2} == {
        "loop": 1
    }
    assert kinds(devices) == before


@pytest.mark.parametrize("out", ["-", "/dev/stdout", "/dev/stderr", "/dev/fd/2"])
@pytest.mark.parametrize("command", [("export", NAME), ("metrics",)])
def test_the_standard_streams_are_written_to(
    tmp_path: Path, out: str, command: tuple[str, ...]
) -> None:
    home = tmp_path / "home"
    add_certificate(home, NAME)
    expected = certctl(*command, home=home).stdout
    before = {each: os.lstat(each).st_ino for each in ("/dev/stdout", "/dev/stderr")}

    done = certctl_process(*command, "--out", out, home=home)

    assert done.exit_status == 0
    assert (done.stdout, done.stderr) == (
        (expected, "") if out in {"-", "/dev/stdout"} else ("", expected)
    )
    assert {each: os.lstat(each).st_ino for each in before} == before


def test_a_log_goes_to_the_standard_streams_and_waits_for_no_pipe(tmp_path: Path) -> None:
    home = tmp_path / "home"
    add_certificate(home, NAME, deployed=False)
    os.mkfifo(tmp_path / "pipe")

    ended = [
        certctl_process("deploy", NAME, "--log-file", each, home=home)
        for each in ("-", "/dev/stderr", str(tmp_path / "pipe"))
    ]

    assert [each.exit_status for each in ended] == [0, 0, 2]
    assert all("certctl[" in each.stderr for each in ended[:2])
    assert "the log file" in ended[2].stderr


@pytest.mark.parametrize(
    ("path", "descriptor"),
    [
        ("-", 1),
        ("/dev/stdout", 1),
        ("/dev/stderr", 2),
        ("/dev/fd/63", 63),
        ("/proc/self/fd/1", 1),
        ("/dev/null", None),
        ("stdout", None),
        ("/dev/fd/", None),
    ],
)
def test_which_paths_are_open_streams(path: str, descriptor: int | None) -> None:
    assert open_stream(path) == descriptor


def test_regular_files_links_to_them_and_nothing_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nothing")

    found = [not_replaceable(tmp_path / each) for each in ("file", "link", "dangling", "absent")]

    assert found == [None] * 4
    assert not_replaceable(Path("/dev/null")) == "a device"
    assert not_replaceable(Path("/dev/stdout")) == "an open file of a process"


def test_a_mount_point_with_a_space_in_its_name_is_recognized(
    tmp_path: Path, mount: Callable[[Path], Path]
) -> None:
    mount(tmp_path / "a file")

    assert is_mount_point(tmp_path / "a file")
    assert not is_mount_point(tmp_path / "a")


# Others' directories, users and groups


@pytest.mark.skipif(not ROOT, reason="only root can give a directory to another user")
def test_an_export_into_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    home, theirs = tmp_path / "home", tmp_path / "theirs"
    add_certificate(home, NAME)
    theirs.mkdir()
    os.chown(theirs, 65534, 65534)

    refused = certctl("export", NAME, "--out", str(theirs / "x.pem"), home=home)

    assert refused.exit_status == 2
    assert str(theirs) in refused.stderr
    assert list(theirs.iterdir()) == []


@pytest.mark.skipif(not ROOT, reason="only root may give files to others")
def test_users_and_groups_may_be_numbers_without_a_name(machine: Machine, there: Path) -> None:
    issue(machine, f"privkey:{there}/key,owner=54321,group=54322,mode=0440", key_group="54323")

    facts = (there / "key").stat()
    assert (facts.st_uid, facts.st_gid) == (54321, 54322)
    assert (machine.home / "live" / NAME / "privkey.pem").stat().st_gid == 54323


@pytest.mark.parametrize("number", ["4294967295", "99999999999", "-1", "1.5", "٣"])
def test_a_number_that_is_no_id_is_refused(there: Path, number: str) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        copies.check_copy(CopySpec(f"{there}/x", CopyFormat.CERT, owner=number), NAME)


# File systems without links


def test_a_file_system_without_symbolic_links_is_found_before_an_order_is_placed(
    machine: Machine,
) -> None:
    program = (
        "import sys\n"
        "def fail(event, facts):\n"
        "    if event == 'os.symlink': raise PermissionError(1, 'Operation not permitted')\n"
        "sys.addaudithook(fail)\n"
        "from certctl.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )

    done = machine.finish(machine.start("issue", NAME, program=(sys.executable, "-c", program)))

    assert done.exit_status == 2
    assert "does not support symbolic links" in done.stderr
    assert "--home DIR" in done.stderr
    assert machine.ca.count("new-order") == 0
