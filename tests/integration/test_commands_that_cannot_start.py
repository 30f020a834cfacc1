"""Programs that cannot start, in real files: the cause is named, also if the shell reports only 126
or 127.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from certctl.system.commands import cause_of_status, obstacle, program_of
from certctl.system.process import run
from tests.support.command import certctl

CASES: dict[str, tuple[bytes | None, int, int, str]] = {
    # name: content, mode, exit status of the shell, what is said
    "missing": (None, 0, 127, "{path} does not exist"),
    "plain": (b"#!/bin/sh\n", 0o644, 126, "{path} is not executable"),
    "no-interpreter": (
        b"#!/opt/nowhere/bash\n",
        0o755,
        127,
        "{path} needs the interpreter /opt/nowhere/bash, which does not exist",
    ),
    "bad-interpreter": (
        b"#!/etc/passwd\n",
        0o755,
        126,
        "{path} needs the interpreter /etc/passwd, which cannot be run",
    ),
    "env": (
        b"#!/usr/bin/env -S nothing-3.99 -u\n",
        0o755,
        127,
        "{path} needs the interpreter nothing-3.99, which was not found in PATH",
    ),
    "windows": (b"#!/bin/sh\r\nexit 0\r\n", 0o755, 127, "{path} has line ends of Windows (CRLF)"),
    "windows-env": (b"#!/usr/bin/env sh\r\n", 0o755, 127, "{path} has line ends of Windows (CRLF)"),
    "windows-without-interpreter": (
        b"true\r\nnothing-3.99\r\n",
        0o755,
        127,
        "{path} has line ends of Windows (CRLF)",
    ),
    "byte-order-mark": (
        b"\xef\xbb\xbf#!/bin/sh\nnothing-3.99\n",
        0o755,
        127,
        "{path} begins with a byte order mark",
    ),
    "inside": (b"#!/bin/sh\nnothing-3.99\n", 0o755, 127, "a program that it calls was not found"),
    "inside-126": (
        b"#!/bin/sh\n/etc/passwd\n",
        0o755,
        126,
        "a program that it calls cannot be executed",
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("as_words", [False, True])
def test_the_cause_of_a_command_that_did_not_start_is_named(
    tmp_path: Path, case: str, as_words: bool
) -> None:
    content, mode, status, said = CASES[case]
    path = tmp_path / case
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    command = [str(path)] if as_words else f"A=b {path} --now"

    completed = run(command, environment={}, timeout=20)
    cause = cause_of_status(command, completed.exit_status)

    assert completed.exit_status == status
    assert cause is not None
    assert cause.text.startswith(said.format(path=path))


def test_a_directory_a_dangling_link_and_a_relative_path_are_told_apart(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nothing")
    found = [obstacle(each) for each in (str(tmp_path), str(link), "./hook.sh", "hooks/hook.sh")]

    assert [each.text for each in found if each] == [
        f"{tmp_path} is a directory",
        f"{link} is a symbolic link whose target does not exist",
        "./hook.sh is a relative path, and commands run in the directory /",
        "hooks/hook.sh is a relative path, and commands run in the directory /",
    ]


def test_a_program_in_no_directory_of_path_is_missing() -> None:
    found = obstacle("certctl-nothing --now", {"PATH": "/opt/nowhere"})

    assert found is not None
    assert found.text.startswith("certctl-nothing was not found in PATH (/usr/local/sbin:")
    assert found.text.endswith(":/opt/nowhere)")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_file_system_without_execution_is_named(tmp_path: Path) -> None:
    script = f"""
import subprocess, sys
subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "none", "{tmp_path}"], check=True)
path = "{tmp_path}/hook"
open(path, "w").write("#!/bin/sh\\n")
import os; os.chmod(path, 0o755)
from certctl.system.commands import cause_of_status
from certctl.system.process import run
print(cause_of_status(path, run(path, environment={{}}, timeout=20).exit_status).text)
"""
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("this machine permits no mounts")

    assert done.stdout == f"{tmp_path}/hook is on a file system that is mounted with noexec\n"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("/bin/sh -c true", None),
        ("systemd=1 sh -c true", None),
        ("true", None),
        ("{ nothing-3.99; }", None),
        ("$HOME/hook", None),
        ("'unclosed", None),
        ("", None),
    ],
)
def test_what_can_start_or_only_the_shell_could_tell_is_no_obstacle(
    command: str, expected: None
) -> None:
    assert obstacle(command) is expected


@pytest.mark.parametrize(
    ("command", "program"),
    [("A=1 B='2 3' nginx -s reload", "nginx"), ("cd /srv && make", None), ("# nothing", None)],
)
def test_the_program_of_a_command_line(command: str, program: str | None) -> None:
    assert program_of(command) == program


@pytest.mark.parametrize("flag", ["--pre-hook", "--deploy-hook", "--reload", "--post-hook"])
@pytest.mark.parametrize("command", ["./hook.sh --now", "bin/hook", "/opt/nowhere/hook"])
def test_a_hook_that_cannot_start_is_refused_before_anything_is_ordered(
    tmp_path: Path, flag: str, command: str
) -> None:
    # Nothing listens there: a request to the CA would fail in another way.
    ca = "https://127.0.0.1:9/directory"

    done = certctl("issue", "a.example", "--ca", ca, flag, command, "--json", home=tmp_path)

    (error,) = done.json()["errors"]
    assert (done.exit_status, error["code"]) == (2, "hook.cannot_run")
    assert error["message"].startswith(
        f"the command of {flag} cannot be run: {command.split(maxsplit=1)[0]}"
    )
    assert [each.name for each in tmp_path.glob("certificates/*")] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--dns", "exec", "--dns-hook", "./hook"), "./hook is a relative path"),
        (
            ("--dns", "exec", "--dns-hook", "true", "--dns-cleanup-hook", "/opt/nowhere"),
            "/opt/nowhere does not exist",
        ),
        (("--http-hook", "certctl-nothing"), "certctl-nothing was not found in PATH"),
        (
            (
                *("--dns", "rfc2136", "--rfc2136-server", "192.0.2.1"),
                *("--rfc2136-key-name", "key", "--rfc2136-key-file", "/opt/nowhere"),
            ),
            "cannot read /opt/nowhere",
        ),
        (("--webroot", "/opt/nowhere"), "the webroot /opt/nowhere does not exist"),
    ],
)
def test_what_validation_lacks_is_found_before_an_order_is_placed(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = certctl("issue", "a.example", "--ca", "dev", *options, "--json", home=tmp_path)

    (error,) = done.json()["errors"]
    assert said in error["message"]
    log = tmp_path / "log" / "audit.jsonl"
    events = log.read_text().splitlines() if log.exists() else []
    assert [each for each in events if "order" in json.loads(each)["kind"]] == []
