"""Commands that misbehave as hooks do, each as a real process."""

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from certctl.system.process import SYSTEM_PATH, Completed, clean_environment, run

SECRET = "hmac-key-of-an-account"
LONG = 60.0
"""Seconds that nothing here takes unless it hangs."""


def sh(
    command: str,
    *,
    timeout: float = LONG,
    stop: threading.Event | None = None,
    limit: int = 65536,
    grace: float = 10.0,
) -> Completed:
    return run(command, environment={}, timeout=timeout, stop=stop, limit=limit, grace=grace)


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + LONG
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie that nobody has collected yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return not Path("/proc/self").exists()


# How it ends


@pytest.mark.parametrize("status", [0, 1, 42])
def test_the_exit_status_is_the_commands(status: int) -> None:
    completed = sh(f"exit {status}")

    assert (completed.exit_status, completed.timed_out, completed.stopped) == (
        status,
        False,
        False,
    )


def test_a_command_that_a_signal_ended_has_its_negative_number() -> None:
    assert sh("kill -KILL $$").exit_status == -9


def test_a_command_that_does_not_exist_is_not_found() -> None:
    line = sh("/nonexistent/reload")
    program = run(("/nonexistent/reload",), environment={}, timeout=LONG)

    assert (line.exit_status, program.exit_status) == (127, 127)
    assert "/nonexistent/reload" in program.output


def test_a_file_that_is_not_executable_cannot_be_run(tmp_path: Path) -> None:
    file = executable(tmp_path / "hook", "#!/bin/sh\n")
    file.chmod(0o644)

    assert run((str(file),), environment={}, timeout=LONG).exit_status == 126


def test_a_command_that_cannot_be_started_is_reported_not_raised() -> None:
    too_long = run("true", environment={"LIST": "x" * 10_000_000}, timeout=LONG)
    with_nul = run("true", environment={"NAME": "a\0b"}, timeout=LONG)

    assert (too_long.exit_status, with_nul.exit_status) == (126, 126)
    assert "Argument list too long" in too_long.output


def test_the_duration_is_reported() -> None:
    assert sh("sleep 0.3").seconds >= 0.3


# What it is given


def test_a_command_line_gets_its_arguments_as_parameters() -> None:
    completed = run(
        'printf "%s|" "$0" "$@"', environment={}, timeout=LONG, arguments=("a b", "$(id);c")
    )

    assert completed.output == "certctl|a b|$(id);c|"


def test_no_shell_parses_the_arguments_of_an_executable(tmp_path: Path) -> None:
    script = executable(tmp_path / "say $(id) it", '#!/bin/sh\nprintf "%s|" "$@"\n')

    completed = run((str(script), "a b", "$HOME", "; id"), environment={}, timeout=LONG)

    assert completed.output == "a b|$HOME|; id|"


def test_a_script_without_an_interpreter_line_runs(tmp_path: Path) -> None:
    script = executable(tmp_path / "hook", 'echo "ran with $1"\n')

    assert run((str(script), "x"), environment={}, timeout=LONG).output == "ran with x\n"


def test_standard_input_is_empty() -> None:
    assert sh("cat; echo end").output == "end\n"


def test_it_starts_in_the_root_directory() -> None:
    assert sh("pwd").output == "/\n"


def test_it_leads_a_session_and_a_group_of_its_own() -> None:
    asked = "import os; print(os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid())"

    assert run((sys.executable, "-c", asked), environment={}, timeout=LONG).output == "True True\n"


def test_it_has_no_terminal_to_ask_at() -> None:
    assert sh("(: </dev/tty) 2>/dev/null || echo none").output == "none\n"


def test_no_open_file_of_ours_reaches_it(tmp_path: Path) -> None:
    with (tmp_path / "key.pem").open("w") as file:
        os.set_inheritable(file.fileno(), True)

        completed = sh(f"test -e /proc/self/fd/{file.fileno()} && echo open || echo closed")

    assert completed.output == "closed\n"


def test_none_of_our_secrets_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERTCTL_EAB_HMAC_KEY", SECRET)
    monkeypatch.setenv("DNS_PROVIDER_TOKEN", SECRET)
    monkeypatch.setenv("SSH_AUTH_SOCK", SECRET)
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("LC_TIME", "C")

    lines = run("env", environment={"CERTCTL_EVENT": "deploy"}, timeout=LONG).output.splitlines()

    names = {line.partition("=")[0] for line in lines}
    assert names >= {"CERTCTL_EVENT", "HOME", "LC_TIME", "LOGNAME", "PATH", "USER"}
    added_by_the_shell = {"PWD", "OLDPWD", "SHLVL", "_"}
    allowed = {"HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "TZ", "USER", "CERTCTL_EVENT"}
    assert {
        name for name in names - allowed - added_by_the_shell if not name.startswith("LC_")
    } == set()
    assert SECRET not in "\n".join(lines)


def test_given_variables_override_the_callers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")

    assert run("echo $TZ", environment={"TZ": "UTC"}, timeout=LONG).output == "UTC\n"


def test_crons_path_gets_the_directories_that_it_lacks() -> None:
    path = clean_environment({"PATH": "/usr/bin:/bin:.::relative:/opt/own/bin"})["PATH"]

    assert path.split(":") == [*SYSTEM_PATH, "/opt/own/bin"]


def test_a_timer_that_sets_no_home_gets_the_users_own() -> None:
    bare = clean_environment({})

    assert bare["HOME"] == os.path.expanduser(f"~{bare['USER']}")  # noqa: PTH111 - by a user's name


def test_the_callers_home_is_kept() -> None:
    assert clean_environment({"HOME": "/srv/certs"})["HOME"] == "/srv/certs"


# What it says


def test_both_outputs_come_together_in_order() -> None:
    assert sh("echo one; echo two >&2; echo three").output == "one\ntwo\nthree\n"


def test_the_end_of_much_output_is_kept_in_whole_lines() -> None:
    completed = sh("i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done", limit=1000)

    lines = completed.output.splitlines()
    assert len(completed.output) <= 1000
    assert lines == [f"line {number}" for number in range(5000 - len(lines), 5000)]


def test_one_endless_line_is_kept_at_its_end() -> None:
    completed = sh("head -c 300000 /dev/zero | tr '\\0' x; printf end", limit=1000)

    assert completed.output == "x" * 997 + "end"


def test_output_without_end_is_bounded_and_cut_off() -> None:
    completed = sh("yes", timeout=2, limit=1000)

    assert completed.timed_out
    assert completed.output == "y\n" * (len(completed.output) // 2)
    assert 0 < len(completed.output) <= 1000


def test_output_that_is_not_text_is_decoded_as_far_as_possible() -> None:
    assert sh("printf 'a\\377b'").output == "a\N{REPLACEMENT CHARACTER}b"


def test_output_does_not_show_in_a_representation() -> None:
    assert SECRET not in repr(sh(f"echo {SECRET}"))


# What it leaves behind


def test_a_daemon_that_keeps_the_output_open_is_not_waited_for(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    completed = sh(f"sleep {LONG} & echo $! > {pid_file}; echo started")

    pid = int(pid_file.read_text())
    still_there = alive(pid)
    os.kill(pid, 9)
    assert (completed.exit_status, completed.output) == (0, "started\n")
    assert completed.seconds < LONG
    assert still_there


def test_a_daemon_that_keeps_writing_is_not_waited_for(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    completed = sh(f"yes & echo $! > {pid_file}; exit 3")

    assert (completed.exit_status, completed.timed_out) == (3, False)
    pid = int(pid_file.read_text())
    assert eventually(lambda: not alive(pid))  # SIGPIPE: nobody reads


def test_a_command_that_closes_its_output_is_waited_for(tmp_path: Path) -> None:
    done = tmp_path / "done"

    completed = sh(f"exec >&- 2>&-; sleep 0.3; : > {done}")

    assert completed.exit_status == 0
    assert done.exists()


# How it is ended


def test_time_out_ends_the_command_and_its_grandchildren(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    completed = sh(f"(sleep {LONG} & echo $! >> {pids}; wait) & echo $! >> {pids}; wait", timeout=1)

    assert (completed.timed_out, completed.stopped, completed.exit_status) == (True, False, -15)
    assert [pid for pid in map(int, pids.read_text().split()) if alive(pid)] == []


def test_a_command_may_clean_up_after_a_time_out() -> None:
    completed = sh(
        "trap 'echo tidied; exit 7' TERM; echo begun; while :; do sleep 0.05; done", timeout=2
    )

    assert (completed.timed_out, completed.exit_status) == (True, 7)
    assert [line for line in completed.output.splitlines() if line != "Terminated"] == [
        "begun",
        "tidied",
    ]


def test_a_grandchild_may_clean_up_after_its_shell_has_ended(tmp_path: Path) -> None:
    done = tmp_path / "done"
    child = executable(
        tmp_path / "child",
        f"#!/bin/sh\ntrap 'sleep 0.5; : > {done}; exit' TERM\nwhile :; do sleep 0.05; done\n",
    )

    completed = sh(f"{child} & wait", timeout=2)

    assert completed.timed_out
    assert done.exists()


def test_a_command_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    deaf = executable(
        tmp_path / "deaf",
        f"#!/bin/sh\ntrap '' TERM\necho $$ >> {pids}\nwhile :; do sleep 0.05; done\n",
    )

    completed = sh(f"{deaf} & exec {deaf}", timeout=2, grace=0.3)

    assert (completed.timed_out, completed.exit_status) == (True, -9)
    found = [int(pid) for pid in pids.read_text().split()]
    assert len(found) == 2
    assert eventually(lambda: not any(map(alive, found)))


def test_stop_ends_a_command_like_a_time_out_but_says_so() -> None:
    stop = threading.Event()
    timer = threading.Timer(0.3, stop.set)
    timer.start()

    completed = sh(f"sleep {LONG}", stop=stop)

    timer.join()
    assert (completed.stopped, completed.timed_out, completed.exit_status) == (True, False, -15)


def test_a_command_that_ended_by_itself_was_not_stopped() -> None:
    completed = sh("exit 4", stop=threading.Event())

    assert (completed.stopped, completed.exit_status) == (False, 4)


def test_many_commands_can_run_at_once() -> None:
    found: dict[int, str] = {}

    def one(number: int) -> None:
        found[number] = sh(f"sleep 0.1; echo {number}").output

    threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == {number: f"{number}\n" for number in range(20)}


def test_an_exception_in_the_caller_leaves_no_process_behind(tmp_path: Path) -> None:
    """As when Ctrl-C arrives in the main thread: the command has a session of its own."""
    pid_file = tmp_path / "pid"

    class Interrupting(threading.Event):
        def is_set(self) -> bool:
            if pid_file.exists() and pid_file.read_text().endswith("\n"):
                raise KeyboardInterrupt
            return False

    with pytest.raises(KeyboardInterrupt):
        sh(f"echo $$ > {pid_file}; sleep {LONG}", stop=Interrupting())

    assert not alive(int(pid_file.read_text()))
