"""Runs external commands with a clean environment, a time limit, limited output and a process group
of their own.

This module does not log and does not interpret exit statuses. It uses the system's time, not a
`Clock`, since a command would never end with a test clock that does not advance.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import Enum, auto
from typing import IO, Self, cast

from certctl.model.lazy_dataclass import dataclass

SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

INHERITED = frozenset({"HOME", "LANG", "LANGUAGE", "LOGNAME", "TZ", "USER"})
"""Variables that are passed on, besides `LC_*` and PATH. Others could contain certctl's secrets."""

WORKING_DIRECTORY = "/"
"""Working directory of commands. A relative path fails on first use, not only later under cron."""

GRACE_SECONDS = 5.0
"""Seconds between SIGTERM and SIGKILL."""

_POLL_SECONDS = 0.05
_DRAIN_SECONDS = 0.25
_CHUNK = 65536


@dataclass(frozen=True)
class Completed:
    """The result of a command.

    `exit_status` is negative for a signal, and 126 or 127 if the command could not be run or was
    not found, as in a shell. `output` is the end of standard output and standard error combined, in
    whole lines; `printed` is the end of standard output, if it was read separately. `timed_out` and
    `stopped` are true if certctl terminated the command.
    """

    exit_status: int
    output: str = field(repr=False)
    seconds: float
    timed_out: bool
    stopped: bool = False
    printed: str = field(default="", repr=False)


def run(
    command: str | Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout: float,
    stop: threading.Event | None = None,
    arguments: Sequence[str] = (),
    limit: int = 65536,
    grace: float = GRACE_SECONDS,
    separate_stdout: bool = False,
) -> Completed:
    """Run a command for at most `timeout` seconds; never raises because of what the command does.

    A `str` is a shell command line with `arguments` as `$1` and so on. A sequence is an executable
    and its arguments, which no shell parses. `environment` is added to `clean_environment`. The
    last `limit` bytes of output are kept, and with `separate_stdout` also those of standard output.

    After `timeout` seconds, or when `stop` is set, the process group gets SIGTERM, and `grace`
    seconds later SIGKILL. A daemon that the command leaves in the background is neither waited for
    nor terminated. Nobody reads what it writes to the inherited output, so it should redirect it.
    """
    started = time.monotonic()
    try:
        process = subprocess.Popen(
            _argv(command, arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if separate_stdout else subprocess.STDOUT,
            bufsize=0,
            cwd=WORKING_DIRECTORY,
            env=clean_environment(os.environ) | dict(environment),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in an argument or a variable
        return Completed(126, f"the command could not be started: {error}", 0.0, timed_out=False)
    pipes = [each for each in (process.stdout, process.stderr) if each is not None]
    with _Output(pipes, limit) as output:
        try:
            end = _wait_for_end(process, output, started + timeout, stop)
            if end is not _End.EXITED:
                _terminate_group(process, output, grace)
        except BaseException:
            _terminate_group(process, output, grace)
            raise
        output.drain()
        return Completed(
            -signal.SIGKILL if process.returncode is None else process.returncode,
            output.text(),
            time.monotonic() - started,
            timed_out=end is _End.TIMED_OUT,
            stopped=end is _End.STOPPED,
            printed=output.printed() if separate_stdout else "",
        )


def clean_environment(caller: Mapping[str, str]) -> dict[str, str]:
    """Return the part of the caller's environment that commands get.

    It is the same on a terminal, under cron and under a timer. PATH is `SYSTEM_PATH` followed by
    the absolute directories of the caller's PATH. HOME, LOGNAME and USER come from the user
    database if the caller does not have them.
    """
    kept = {
        key: value for key, value in caller.items() if key in INHERITED or key.startswith("LC_")
    }
    caller_directories = (
        directory
        for directory in caller.get("PATH", "").split(os.pathsep)
        if directory.startswith("/")
    )
    return {
        **_user(),
        **kept,
        "PATH": os.pathsep.join(dict.fromkeys((*SYSTEM_PATH, *caller_directories))),
    }


def _user() -> dict[str, str]:
    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:
        return {}
    return {"HOME": entry.pw_dir, "LOGNAME": entry.pw_name, "USER": entry.pw_name}


def _argv(command: str | Sequence[str], arguments: Sequence[str]) -> list[str]:
    if isinstance(command, str):
        return ["/bin/sh", "-c", command, "certctl", *arguments]
    # `exec` in a shell instead of execve, so that a script without a `#!` line runs too, as it does
    # with other clients, and "not found" and "permission denied" have the usual message and status.
    # The shell does not parse the arguments.
    return ["/bin/sh", "-c", 'exec "$@"', "certctl", *command, *arguments]


class _End(Enum):
    EXITED = auto()
    TIMED_OUT = auto()
    STOPPED = auto()


class _Output:
    """Reads a command's output from one pipe for both streams, or from a pipe each for standard
    output and standard error. Keeps the last `limit` bytes.
    """

    def __init__(self, pipes: Sequence[IO[bytes]], limit: int) -> None:
        self._pipes = pipes
        self._all = _Tail(limit)
        self._printed = _Tail(limit)
        self._selector = selectors.DefaultSelector()
        for pipe in pipes:
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for pipe in self._pipes:
            pipe.close()

    @property
    def open(self) -> bool:
        """Whether there may be more output."""
        return bool(self._selector.get_map())

    def pump(self, seconds: float) -> bool:
        """Wait up to `seconds` for output and read it; return whether there was any."""
        ready = self._selector.select(seconds) if self.open else []
        taken = [self._take(cast(IO[bytes], key.fileobj)) for key, _ in ready]
        return any(taken)

    def drain(self) -> None:
        """Read the rest, for a limited time: a background process may never close the pipe."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        while self.pump(0) and time.monotonic() < deadline:
            pass

    def text(self) -> str:
        """Return the end of both streams as text, without a truncated first line."""
        return self._all.text()

    def printed(self) -> str:
        """Return the end of standard output."""
        return self._printed.text()

    def _take(self, pipe: IO[bytes]) -> bool:
        try:
            chunk = os.read(pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self._selector.unregister(pipe)
            return False
        self._all.add(chunk)
        if pipe is self._pipes[0]:
            self._printed.add(chunk)
        return True


class _Tail:
    """The last bytes of a stream, at most `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._truncated = False

    def add(self, chunk: bytes) -> None:
        self._kept += chunk
        if len(self._kept) > 2 * self._limit:
            self._shorten()

    def text(self) -> str:
        """Return the bytes as text, without a truncated first line."""
        if len(self._kept) > self._limit:
            self._shorten()
        text = self._kept.decode("utf-8", errors="replace")
        _, newline, rest = text.partition("\n") if self._truncated else ("", "", "")
        return rest if newline else text

    def _shorten(self) -> None:
        del self._kept[: -self._limit]
        self._truncated = True


def _wait_for_end(
    process: subprocess.Popen[bytes],
    output: _Output,
    deadline: float,
    stop: threading.Event | None,
) -> _End:
    """Wait until the command ends, its time is up, or `stop` is set; read its output."""
    while process.poll() is None:
        if stop is not None and stop.is_set():
            return _End.STOPPED
        left = deadline - time.monotonic()
        if left <= 0:
            return _End.TIMED_OUT
        _pause(process, output, min(left, _POLL_SECONDS))
    return _End.EXITED


def _terminate_group(process: subprocess.Popen[bytes], output: _Output, grace: float) -> None:
    """Terminate the command and its group; return when they have ended or cannot be ended."""
    _signal_group(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace
    # The shell often ends at once while its children are still cleaning up, so the grace period
    # applies to the whole group.
    while process.poll() is None or _signal_group(process.pid, 0):
        if time.monotonic() >= deadline:
            break
        _pause(process, output, _POLL_SECONDS)
    else:
        return
    _signal_group(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + grace
    # Even SIGKILL cannot end a process that is blocked in an uninterruptible system call. Waiting
    # for it would block certctl too.
    while process.poll() is None and time.monotonic() < deadline:
        _pause(process, output, _POLL_SECONDS)


def _signal_group(group: int, number: int) -> bool:
    """Signal a process group; return whether it exists. Signal 0 only checks."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _pause(process: subprocess.Popen[bytes], output: _Output, seconds: float) -> None:
    """Wait up to `seconds`, or until there is output or the command ends."""
    if output.open:
        output.pump(seconds)
    elif process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    else:
        time.sleep(seconds)
