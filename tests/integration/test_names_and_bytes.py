"""What users type at any command: names in Unicode, bytes that are not UTF-8, and relative paths
where the working directory is gone.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.lab.scripted_ca.server import ScriptedCA
from tests.support.command import certctl
from tests.support.homes import add_certificate

UNICODE, STORED = "bücher.example", "xn--bcher-kva.example"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    add_certificate(tmp_path / "home", STORED)
    return tmp_path / "home"


def run(
    home: Path,
    *arguments: str | bytes,
    directory: Path | None = None,
    variables: Mapping[str, str | bytes] | None = None,
) -> tuple[int, str, str]:
    """Run certctl in a process of its own; return its exit status and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "certctl", *arguments],
        capture_output=True,
        env={**os.environ, "CERTCTL_HOME": str(home), **(variables or {})},
        cwd=directory,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize(
    "command",
    [
        ("list", UNICODE),
        ("show", UNICODE),
        ("explain", UNICODE),
        ("export", UNICODE),
        ("deploy", UNICODE),
        ("renew", UNICODE),
        ("delete", UNICODE, "--yes"),
    ],
)
def test_a_name_in_unicode_is_understood_by_every_command(
    home: Path, command: tuple[str, ...]
) -> None:
    done = certctl(*command, "--json", home=home)

    assert (done.exit_status, done.json()["errors"]) == (0, [])
    assert STORED in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("edit", UNICODE, "--reload", "true"),
        ("rollback", UNICODE),
        ("revoke", UNICODE, "--stop", "--yes"),
        ("verify", UNICODE),
        ("check", UNICODE),
        ("doctor", UNICODE, "--no-write"),
    ],
)
def test_a_command_that_fails_knows_the_name_all_the_same(
    tmp_path: Path, ca: ScriptedCA, command: tuple[str, ...]
) -> None:
    home = tmp_path / "home"
    add_certificate(home, STORED, chosen={"ca": ca.directory_url})  # its roots are not known
    by_unicode = certctl(*command, home=home)
    stored = [STORED if each == UNICODE else each for each in command]
    by_stored = certctl(*stored, home=home)

    assert "valid certificate name" not in by_unicode.stderr
    assert by_unicode.exit_status == by_stored.exit_status
    assert by_unicode.stderr == by_stored.stderr


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("bü", [UNICODE]), ("xn--b", [STORED]), ("", [UNICODE]), ("b", [UNICODE]), ("x", [STORED])],
)
def test_completion_offers_a_name_as_it_was_begun(
    home: Path, typed: str, offered: list[str]
) -> None:
    variables = {
        "_CERTCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": f"certctl show {typed}",
        "COMP_CWORD": "2",
    }

    status, stdout, _ = run(home, variables=variables)

    assert (status, [each.partition(",")[2] for each in stdout.split()]) == (0, offered)


@pytest.mark.parametrize(
    "arguments",
    [
        (b"\xff",),
        (b"list", b"\xff"),
        (b"issue", b"\xff.example"),
        (b"issue", b"b.example", b"--webroot", b"/srv/\xff"),
        (b"issue", b"b.example", b"--deploy-hook", b"echo \xff"),
        (b"--home", b"/srv/\xff", b"list"),
    ],
)
def test_an_argument_that_is_not_utf8_is_refused(home: Path, arguments: tuple[bytes, ...]) -> None:
    status, stdout, stderr = run(home, *arguments)

    assert (status, stdout) == (2, "")
    assert stderr.startswith("error: the argument ")
    assert r"\xff" in stderr
    assert "is not valid UTF-8" in stderr


def test_the_error_for_such_an_argument_is_json_if_asked_for(home: Path) -> None:
    status, stdout, stderr = run(home, "list", b"\xff", "--json")

    assert (status, stderr) == (2, "")
    assert json.loads(stdout)["errors"][0]["code"] == "usage.encoding"


@pytest.mark.parametrize(
    "variables",
    [{"CERTCTL_RELOAD": b"\xff"}, {"CERTCTL_HOME": b"/srv/\xff"}, {"CERTCTL_CA_BUNDLE": b"/\xff"}],
)
def test_a_variable_that_is_not_utf8_is_refused(home: Path, variables: dict[str, bytes]) -> None:
    status, stdout, stderr = run(home, "list", variables=variables)

    assert (status, stdout) == (2, "")
    assert "is not valid UTF-8" in stderr


def test_a_relative_path_in_a_directory_that_is_not_utf8_is_refused(
    home: Path, tmp_path: Path
) -> None:
    directory = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    directory.mkdir()

    status, _, stderr = run(home, "issue", "b.example", "--webroot", "www", directory=directory)

    assert (status, "is not valid UTF-8" in stderr) == (2, True)
    assert run(home, "list", directory=directory)[0] == 0


# Python itself looks for modules in the working directory, but not if it is started with -I.
IN_A_REMOVED_DIRECTORY = """
import os, sys
os.mkdir(sys.argv[1]); os.chdir(sys.argv[1]); os.rmdir(sys.argv[1])
os.execv(sys.executable, [sys.executable, "-m", "certctl", *sys.argv[2:]])
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("list",), (0, "")),
        (("--help",), (0, "")),
        (("renew",), (0, "")),
        (("schedule", "show"), (0, "")),
        (
            ("issue", "b.example", "--webroot", "www"),
            (
                2,
                (
                    "error: the path www is relative, but the working directory does not exist any"
                    " more, or cannot be reached\n"
                    " hint: Give an absolute path, or change to another directory first: cd /\n"
                ),
            ),
        ),
    ],
)
def test_a_working_directory_that_is_gone_matters_only_to_relative_paths(
    home: Path, tmp_path: Path, arguments: tuple[str, ...], expected: tuple[int, str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_REMOVED_DIRECTORY, tmp_path / "gone", *arguments],
        capture_output=True,
        env={**os.environ, "CERTCTL_HOME": str(home)},
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr.decode()) == expected
