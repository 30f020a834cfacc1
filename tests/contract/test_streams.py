"""What becomes of a command whose streams, or whose directory, are not what it expects.

A command that could not say its result has failed. One that could not say anything else has not.
"""

import errno
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certctl.cli.environment import Environment, writing_anything
from certctl.cli.main import run
from certctl.model.certificate import LastError
from certctl.model.delivery import Deployment
from tests.support.command import Finished, certctl
from tests.support.homes import add_certificate
from tests.support.streams import Broken, Terminal

FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")

PRINTING = [("list", "--json"), ("list",), ("--version",), ("--help",), ("issue", "--help")]


def in_a_shell(line: str, *arguments: str, directory: Path) -> Finished:
    """Run certctl as a process, as `$certctl` within a line of a shell."""
    done = subprocess.run(
        ["/bin/sh", "-c", line, sys.executable, "-m", "certctl", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=directory,
        timeout=60,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def a_home(directory: Path) -> Path:
    add_certificate(directory / "home", "a.example")
    return directory / "home"


@FULL
@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_result_that_the_disk_has_no_room_for_is_a_failure(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    home = a_home(tmp_path)

    finished = in_a_shell(
        'exec "$0" "$@" >/dev/full', "--home", str(home), *arguments, directory=tmp_path
    )

    assert finished == Finished(
        1, "", "error: the output cannot be written: No space left on device\n"
    )


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_reader_that_has_left_gets_no_complaint(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    home = a_home(tmp_path)
    reading, writing = os.pipe()
    os.close(reading)

    try:
        done = subprocess.run(
            [sys.executable, "-m", "certctl", "--home", home, *arguments],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)

    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_standard_output_may_be_closed_from_the_beginning(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    home = a_home(tmp_path)

    finished = in_a_shell('exec "$0" "$@" >&-', "--home", str(home), *arguments, directory=tmp_path)

    assert finished == Finished(0, "", "")


def test_standard_error_may_be_closed_from_the_beginning(tmp_path: Path) -> None:
    finished = in_a_shell(
        'exec "$0" "$@" 2>&-', "--home", "home", "show", "nosuch.example", directory=tmp_path
    )

    assert finished == Finished(2, "", "")


@FULL
def test_messages_that_the_disk_has_no_room_for_change_no_result(tmp_path: Path) -> None:
    home = a_home(tmp_path)
    (home / "certificates" / "b.example.toml").write_text("names = 7\n")

    plain = in_a_shell('exec "$0" "$@"', "--home", str(home), "list", directory=tmp_path)
    full = in_a_shell('exec "$0" "$@" 2>/dev/full', "--home", str(home), "list", directory=tmp_path)

    assert plain.stderr.startswith("error: b.example: ")
    assert full == Finished(plain.exit_status, plain.stdout, "")


def test_the_directory_that_one_is_in_may_be_gone(tmp_path: Path) -> None:
    home = a_home(tmp_path)

    finished = in_a_shell(
        'mkdir gone && cd gone && rmdir ../gone && exec "$0" "$@"',
        *("--home", str(home), "list"),
        directory=tmp_path,
    )

    assert (finished.exit_status, finished.stderr) == (0, "")
    assert "a.example" in finished.stdout


def test_an_error_in_the_middle_of_a_command_is_not_put_down_to_its_output(tmp_path: Path) -> None:
    home = a_home(tmp_path)
    stdout, stderr = Terminal(), Terminal()
    hung_up = Broken(errno.EIO, terminal=True)
    environment = Environment(hung_up, stdout, stderr, {}, tmp_path, user_id=1000)

    status = run(["--home", str(home), "delete", "a.example"], environment)

    assert (status, stdout.getvalue()) == (1, "")
    assert "Input/output error" in stderr.getvalue()
    assert "output cannot be written" not in stderr.getvalue()
    assert certctl("list", home=home).stdout.count("a.example") > 0


def test_output_that_fails_in_this_process_is_a_failure_too(tmp_path: Path) -> None:
    home = a_home(tmp_path)
    stderr = io.StringIO()
    environment = Environment(io.StringIO(), Broken(errno.EIO), stderr, {}, tmp_path, user_id=1000)

    with redirect_stdout(io.StringIO()):
        status = run(["--home", str(home), "list"], environment)

    assert status == 1
    assert stderr.getvalue() == "error: the output cannot be written: Input/output error\n"


@pytest.mark.parametrize("module", ["urllib3.connection", "requests"])
def test_warnings_of_http_libraries_are_not_for_users(module: str) -> None:
    """Such as that of urllib3 about a clock that is years behind."""
    program = (
        "import sys, warnings; from certctl.cli.main import main; main(['--version']);"
        "warnings.warn_explicit('off', UserWarning, 'x.py', 1, module=sys.argv[1])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, module], capture_output=True, text=True, check=True
    )

    assert done.stderr == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_characters_that_a_terminal_lacks_are_escaped(tmp_path: Path, encoding: str) -> None:
    home, now = tmp_path / "home", datetime.now(UTC)
    error = LastError("challenge.failed", "nicht möglich ☃ 😀", now, "challenge")
    deployment = Deployment(1, None, failures=1, last_error=error, retry_at=now)
    add_certificate(home, "a.example", deployment=deployment)

    environment = {**os.environ, "PYTHONIOENCODING": encoding, "CERTCTL_HOME": str(home)}
    command = [sys.executable, "-m", "certctl", "list"]
    text = subprocess.run(command, env=environment, capture_output=True, check=True)
    document = subprocess.run(
        [*command, "--json"], env=environment, capture_output=True, check=True
    )

    assert b"not deployed yet: nicht m" in text.stdout
    (row,) = json.loads(document.stdout.decode(encoding))["data"]["certificates"]
    assert row["last_error"]["message"] == error.message


def test_the_rules_of_tables_are_dashes_where_the_terminal_has_no_lines() -> None:
    written = io.BytesIO()
    stream = writing_anything(io.TextIOWrapper(written, encoding="ascii"))

    stream.write("──\né…😀")
    stream.flush()

    assert written.getvalue() == b"--\n\\u00e9\\u2026\\ud83d\\ude00"
