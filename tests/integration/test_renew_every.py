"""`renew --every`: one process that renews again and again, as in a container."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from certctl.cli.actions.renew import without_every
from tests.support.command import certctl

# Repeats a command, given after the seconds, as `certctl renew --every` does.
_REPEAT = (
    "import os, sys;"
    "from certctl.system.foreground import repeat;"
    "repeat(sys.argv[2:], float(sys.argv[1]), variables=dict(os.environ))"
)

_PROCESS_1 = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def _repeated(seconds: float, script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _REPEAT, str(seconds), "/bin/sh", "-c", script],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def runs(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    seconds, script = request.param
    process = _repeated(seconds, script)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("runs", [(0.05, "echo run; exit 1")], indirect=True)
def test_a_run_that_failed_is_followed_by_the_next(runs: subprocess.Popen[str]) -> None:
    assert [_line(runs) for _ in range(3)] == ["run"] * 3


@pytest.mark.parametrize("runs", [(3600, "echo waiting")], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_between_two_runs_ends_it_at_once(
    runs: subprocess.Popen[str], number: signal.Signals
) -> None:
    _line(runs)

    runs.send_signal(number)

    assert runs.wait(timeout=20) == 0


@pytest.mark.parametrize(
    "runs",
    [(3600, "trap 'echo stopped; exit 0' TERM; echo started; while :; do sleep 0.05; done")],
    indirect=True,
)
def test_a_run_under_way_is_stopped_and_waited_for(runs: subprocess.Popen[str]) -> None:
    _line(runs)

    runs.send_signal(signal.SIGTERM)

    assert (_line(runs), runs.wait(timeout=20)) == ("stopped", 0)


@pytest.mark.parametrize("runs", [(3600, "cat; echo end of input")], indirect=True)
def test_a_run_has_nothing_to_read(runs: subprocess.Popen[str]) -> None:
    assert _line(runs) == "end of input"


def test_processes_that_a_run_left_behind_are_collected() -> None:
    """In a process namespace of its own, where it is process 1 and so their new parent."""
    if os.geteuid() != 0:
        pytest.skip("a process namespace needs root")
    script = "sleep 0.1 & grep -sl 'Z (zombie)' /proc/[0-9]*/status; echo end"
    process = subprocess.Popen(
        [*_PROCESS_1, sys.executable, "-c", _REPEAT, "0.4", "/bin/sh", "-c", script],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        seen = [_line(process) for _ in range(4)]
    finally:
        process.kill()
        process.communicate()

    assert seen == ["end"] * 4


def test_the_command_renews_without_asking_and_ends_when_told_to(tmp_path: Path) -> None:
    home = tmp_path / "home"
    certctl("issue", "a.example", "--ca", "dev", home=home)
    process = subprocess.Popen(
        [sys.executable, "-m", "certctl", "--home", home, "renew", "a.example", "--every", "1h"],
        stdout=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        said = _line(process)
        process.send_signal(signal.SIGTERM)
        status = process.wait()
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()

    assert (said.startswith("a.example: not due until"), status) == (True, 0)


@pytest.mark.parametrize("every", ["soon", "59s", "0", "-1h", ""])
def test_a_useless_interval_is_refused(every: str, tmp_path: Path) -> None:
    shown = certctl("renew", f"--every={every}", home=tmp_path)

    assert (shown.exit_status, "not a duration of a minute or longer" in shown.stderr) == (2, True)


@pytest.mark.parametrize("flag", ["--force", "--dry-run", "--json"])
def test_what_is_meant_for_one_run_is_refused(flag: str, tmp_path: Path) -> None:
    shown = certctl("renew", "--every", "1h", flag, home=tmp_path)

    assert (
        shown.exit_status,
        "--every cannot be combined with" in shown.stdout + shown.stderr,
    ) == (
        2,
        True,
    )


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (["renew", "--every", "1h"], ["renew"]),
        (["-v", "renew", "--every=1h", "a.example"], ["-v", "renew", "a.example"]),
        (
            ["--home", "/a", "renew", "--every", "1h", "--jobs", "2"],
            ["--home", "/a", "renew", "--jobs", "2"],
        ),
    ],
)
def test_each_run_gets_all_other_arguments(arguments: list[str], kept: list[str]) -> None:
    assert without_every(arguments) == kept
