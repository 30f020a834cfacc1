"""Durable writes, permissions, and links that must not be followed: on real files."""

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from certctl.model.errors import ConfigurationError, StoreError
from certctl.system import file_errors, files, reading, trust
from certctl.system.secrets import read_secret
from tests.unit.store_samples import REPOSITORY, everything_below, mode

ROOT = os.geteuid() == 0
NOBODY = 65534
needs_root = pytest.mark.skipif(not ROOT, reason="only root can give files to another user")


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def test_a_written_file_has_its_bytes_and_mode_regardless_of_the_umask(tmp_path: Path) -> None:
    with umask(0o077):
        files.write_atomic(tmp_path / "public", b"for all", 0o644)
    with umask(0o000):
        files.write_atomic(tmp_path / "private", b"for me")
    assert (tmp_path / "public").read_bytes() == b"for all"
    assert mode(tmp_path / "public") == 0o644
    assert mode(tmp_path / "private") == 0o600
    assert everything_below(tmp_path) == ["private", "public"]


def test_a_reader_of_a_replaced_file_keeps_the_old_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_atomic(path, b"old")
    with path.open("rb") as reader:
        files.write_atomic(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


def test_a_write_replaces_a_link_and_does_not_change_its_target(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"not ours")
    (tmp_path / "file").symlink_to("elsewhere")
    files.write_atomic(tmp_path / "file", b"ours")
    assert (tmp_path / "elsewhere").read_bytes() == b"not ours"
    assert (tmp_path / "file").read_bytes() == b"ours"
    assert not (tmp_path / "file").is_symlink()


def test_a_new_file_is_refused_if_it_exists(tmp_path: Path) -> None:
    (tmp_path / "file").symlink_to("elsewhere")
    with pytest.raises(StoreError, match="File exists"):
        files.write_new(tmp_path / "file", b"key")
    assert everything_below(tmp_path) == ["file"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "inside").touch()
    with pytest.raises(StoreError, match=f"cannot write {tmp_path}/target: Is a directory"):
        files.write_atomic(tmp_path / "target", b"data")
    assert everything_below(tmp_path) == ["target", "target/inside"]


def test_a_write_to_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    program = (
        "import resource, signal, sys; from pathlib import Path; from certctl.system import files;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "files.write_atomic(Path(sys.argv[1]), b'x' * 100_000)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, path],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert f"StoreError: cannot write {path}: File too large" in ended.stderr
    assert path.read_bytes() == b"old"
    assert everything_below(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "as the owner"),
    ],
)
def test_an_error_of_the_machine_names_path_cause_and_remedy(number: int, hint: str) -> None:
    error = file_errors.store_error("write", "/some/file", OSError(number, os.strerror(number)))
    assert error.message == f"cannot write /some/file: {os.strerror(number)}"
    assert error.hint is not None
    assert hint in error.hint


def test_directories_are_created_with_their_mode_regardless_of_the_umask(tmp_path: Path) -> None:
    with umask(0o077):
        files.ensure_directory(tmp_path / "a" / "b", 0o711)
    assert [mode(tmp_path / "a"), mode(tmp_path / "a" / "b")] == [0o711, 0o711]


def test_an_existing_directory_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "wide").mkdir(0o755)
    (tmp_path / "wide").chmod(0o755)
    files.ensure_directory(tmp_path / "wide", 0o700)
    assert mode(tmp_path / "wide") == 0o755


def test_a_file_in_place_of_a_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot create the directory"):
        files.ensure_directory(tmp_path / "file")


@needs_root
def test_group_and_mode_are_given_together(tmp_path: Path) -> None:
    files.write_atomic(tmp_path / "key", b"key", 0o640, group=NOBODY)
    files.ensure_directory(tmp_path / "keys", 0o750, group=NOBODY)
    assert ((tmp_path / "key").stat().st_gid, mode(tmp_path / "key")) == (NOBODY, 0o640)
    assert ((tmp_path / "keys").stat().st_gid, mode(tmp_path / "keys")) == (NOBODY, 0o750)


def test_a_link_is_replaced_and_exists_at_all_times(tmp_path: Path) -> None:
    link = tmp_path / "live"
    files.replace_link(link, "1")
    seen: set[str] = set()
    program = (
        "import sys; from pathlib import Path; from certctl.system import files\n"
        "for n in range(200): files.replace_link(Path(sys.argv[1]), str(n % 2 + 1))"
    )
    with subprocess.Popen([sys.executable, "-c", program, link], cwd=REPOSITORY) as flipper:
        while flipper.poll() is None:
            seen.add(os.readlink(link))  # noqa: PTH115 - raises where the link is missing
    assert flipper.returncode == 0
    assert seen == {"1", "2"}
    assert everything_below(tmp_path) == ["live"]


def test_a_link_never_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "live").write_bytes(b"somebody's")
    with pytest.raises(StoreError, match="is not a symbolic link"):
        files.replace_link(tmp_path / "live", "1")
    assert (tmp_path / "live").read_bytes() == b"somebody's"
    assert everything_below(tmp_path) == ["live"]


def test_removing_a_tree_removes_links_and_not_their_targets(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").touch()
    (tree / "directory-link").symlink_to(outside)
    (tree / "file-link").symlink_to(outside / "precious")
    files.remove_tree(tree)
    assert everything_below(tmp_path) == ["outside", "outside/precious"]


def test_removing_a_tree_that_is_a_link_removes_the_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").touch()
    (tmp_path / "tree").symlink_to("outside")
    files.remove_tree(tmp_path / "tree")
    files.remove_tree(tmp_path / "tree")
    assert everything_below(tmp_path) == ["outside", "outside/precious"]


def test_a_temporary_name_contains_the_final_name() -> None:
    first, second = files.temporary_name("example.com.json"), files.temporary_name("x")
    assert files.temporary_for(first) == "example.com.json"
    assert first != files.temporary_name("example.com.json")
    assert files.temporary_for(second) == "x"
    assert files.temporary_for(".new-") is None
    assert files.temporary_for("example.com") is None


def test_reading_stops_at_the_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert reading.read_bounded(tmp_path / "file", 5) == b"12345"
    with pytest.raises(StoreError, match="larger than the maximum of 4 bytes"):
        reading.read_bounded(tmp_path / "file", 4)
    assert reading.read_if_exists(tmp_path / "nothing", 4) is None
    with pytest.raises(StoreError, match=f"cannot read {tmp_path}/nothing: No such file"):
        reading.read_bounded(tmp_path / "nothing", 4)


# Who may have written it.


def test_a_file_that_everybody_can_write_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_bytes(b"names = []")
    path.chmod(0o602)
    with pytest.raises(ConfigurationError, match="can be written by other users") as caught:
        trust.check_trusted(path)
    assert caught.value.hint == f"chmod go-w {path}"
    assert caught.value.code == "configuration.permissions"
    with pytest.raises(ConfigurationError, match="can be written by other users"):
        reading.read_trusted(path, 100)


def test_a_file_of_our_own_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_bytes(b"names = []")
    path.chmod(0o644)
    trust.check_trusted(path)
    data, facts = reading.read_trusted(path, 100)
    assert (data, facts.st_size) == (b"names = []", 10)


@needs_root
def test_root_does_not_trust_the_file_of_another_user(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_bytes(b"names = []")
    os.chown(path, NOBODY, -1)
    with pytest.raises(ConfigurationError, match=f"belongs to user id {NOBODY}") as caught:
        reading.read_trusted(path, 100)
    assert caught.value.hint == f"chown root {path}"


@needs_root
def test_root_does_not_trust_what_a_group_can_write(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_bytes(b"names = []")
    os.chown(path, -1, NOBODY)
    path.chmod(0o664)
    with pytest.raises(ConfigurationError, match="can be written by other users"):
        reading.read_trusted(path, 100)


@needs_root
def test_root_does_not_trust_a_file_below_a_directory_that_others_can_write(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    hook = tmp_path / "open" / "hook"
    hook.touch(0o755)
    with pytest.raises(ConfigurationError, match="can be written by other users") as caught:
        trust.check_trusted(hook)
    assert caught.value.hint == f"chmod go-w {tmp_path}/open"
    (tmp_path / "open").chmod(0o1777)
    trust.check_trusted(hook)


@needs_root
def test_root_does_not_trust_a_link_through_the_directory_of_another_user(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "real").touch(0o755)
    (tmp_path / "theirs" / "step").symlink_to("../real")
    (tmp_path / "hook").symlink_to("theirs/step")
    trust.check_trusted(tmp_path / "hook")
    os.chown(tmp_path / "theirs", NOBODY, -1)
    with pytest.raises(ConfigurationError, match=f"{tmp_path}/theirs belongs to user id"):
        trust.check_trusted(tmp_path / "hook")


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(StoreError, match="symbolic links"):
        trust.check_trusted(tmp_path / "a")


# Secrets.


def test_a_secret_is_read_without_the_end_of_its_line(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(b" s3cret \r\n")
    path.chmod(0o600)
    assert read_secret(path) == " s3cret "


def test_a_byte_order_mark_is_no_part_of_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"\xef\xbb\xbfs3cret\r\n")
    path.chmod(0o600)

    assert read_secret(path) == "s3cret"


def test_a_secret_in_another_encoding_is_told_how_to_be_saved(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes("s3cret\n".encode("utf-16"))
    path.chmod(0o600)

    with pytest.raises(ConfigurationError) as caught:
        read_secret(path)

    assert caught.value.hint == "Save it as UTF-8."


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620])
def test_a_secret_that_others_can_read_is_refused_without_showing_it(
    tmp_path: Path, bits: int
) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"s3cret")
    path.chmod(bits)
    with pytest.raises(ConfigurationError) as caught:
        read_secret(path)
    assert caught.value.hint == f"chmod 600 {path}"
    assert "s3cret" not in f"{caught.value!r} {caught.value.message}"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"a\0b"])
def test_a_secret_that_is_not_text_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=f"{path} must contain a secret"):
        read_secret(path)


def test_a_secret_that_is_missing_or_endless_is_an_error_of_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_secret(tmp_path / "token")
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    (tmp_path / "large").chmod(0o600)
    with pytest.raises(ConfigurationError, match="larger than"):
        read_secret(tmp_path / "large")


def test_a_secret_can_come_through_a_pipe() -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, b"s3cret\n")
        os.close(writing)
        assert stat.S_ISFIFO(os.fstat(reading).st_mode)
        assert read_secret(Path(f"/dev/fd/{reading}")) == "s3cret"
    finally:
        os.close(reading)


def test_a_pipe_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(StoreError, match="not a regular file"):
        files.write_atomic(tmp_path / "pipe", b"x")

    assert [each.name for each in tmp_path.iterdir()] == ["pipe"]
    assert (tmp_path / "pipe").is_fifo()


def test_a_file_of_somebody_else_keeps_its_link_and_attributes(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"old")
    file.chmod(0o664)
    link.symlink_to("file")
    with suppress(OSError):  # not every file system has them
        os.setxattr(file, "user.certctl", b"kept")
    attributes = os.listxattr(file)

    files.replace_contents(link, b"new")

    assert (link.is_symlink(), file.read_bytes()) == (True, b"new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o664
    assert os.listxattr(file) == attributes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_what_a_killed_replacement_left_is_removed(tmp_path: Path) -> None:
    file, other = tmp_path / "file", tmp_path / files.temporary_name("other")
    for path in (file, other, tmp_path / files.temporary_name("file")):
        path.write_bytes(b"")

    files.remove_unfinished(file)

    assert sorted(tmp_path.iterdir()) == sorted((file, other))
