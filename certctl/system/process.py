"""Runs somebody else's command: clean environment, time limit, bounded output, own process group.

What the command means (a hook, a reload, a DNS script) is for the caller to know; nothing here
logs, and nothing here judges an exit status. Time is the kernel's, not a `Clock`'s: a clock that
stands still would never end a command.
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
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import IO, Self, cast

SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

INHERITED = frozenset({"HOME", "LANG", "LANGUAGE", "LOGNAME", "TZ", "USER"})
"""What passes through besides `LC_*` and PATH; anything else could be a secret of certctl's."""

WORKING_DIRECTORY = "/"
"""Where every command starts: a relative path fails when first tried, not later under cron."""

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

_LOOK_EVERY = 0.05
_LAST_WORDS = 0.25
_CHUNK = 65536


@dataclass(frozen=True)
class Completed:
    """How a command ended.

    `exit_status` is negative for a signal, and 126 or 127 where the command could not be run or was
    not found, as in a shell. `output` is the end of standard output and standard error together, in
    whole lines; `printed` that of standard output alone, where the two were kept apart. `timed_out`
    and `stopped` say that certctl ended it.
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
    grace: float = GRACE,
    separate_stdout: bool = False,
) -> Completed:
    """Run a command for `timeout` seconds at most; never raises for what the command does.

    A `str` is a shell command line, and `arguments` its `$1` and on. A sequence is an executable
    and its arguments, with no shell in between that would read them. `environment` is added to what
    `clean_environment` lets through. The last `limit` bytes of output are kept; with
    `separate_stdout`, those of standard output also by themselves.

    When time runs out, or `stop` is set, the process group gets SIGTERM, and SIGKILL `grace`
    seconds later. A daemon that the command leaves behind is neither waited for nor ended; what it
    writes to the inherited output once the command has ended finds nobody, so it should send it
    elsewhere.
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
    except (OSError, ValueError) as error:  # ValueError: a NUL among the words or the facts
        return Completed(126, f"the command could not be started: {error}", 0.0, timed_out=False)
    pipes = [each for each in (process.stdout, process.stderr) if each is not None]
    with _Output(pipes, limit) as output:
        try:
            end = _watch(process, output, started + timeout, stop)
            if end is not _End.EXITED:
                _end_group(process, output, grace)
        except BaseException:
            _end_group(process, output, grace)
            raise
        output.last_words()
        return Completed(
            -signal.SIGKILL if process.returncode is None else process.returncode,
            output.text(),
            time.monotonic() - started,
            timed_out=end is _End.TIMED_OUT,
            stopped=end is _End.STOPPED,
            printed=output.printed() if separate_stdout else "",
        )


def clean_environment(caller: Mapping[str, str]) -> dict[str, str]:
    """Return what a command may see of the caller's environment.

    It is the same by hand, from cron and from a timer: PATH is `SYSTEM_PATH` and then the caller's
    own absolute directories; HOME, LOGNAME and USER come from the user database where the caller
    has none.
    """
    kept = {
        key: value for key, value in caller.items() if key in INHERITED or key.startswith("LC_")
    }
    own = (
        directory
        for directory in caller.get("PATH", "").split(os.pathsep)
        if directory.startswith("/")
    )
    return {**_user(), **kept, "PATH": os.pathsep.join(dict.fromkeys((*SYSTEM_PATH, *own)))}


def _user() -> dict[str, str]:
    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:
        return {}
    return {"HOME": entry.pw_dir, "LOGNAME": entry.pw_name, "USER": entry.pw_name}


def _argv(command: str | Sequence[str], arguments: Sequence[str]) -> list[str]:
    if isinstance(command, str):
        return ["/bin/sh", "-c", command, "certctl", *arguments]
    # `exec` in a shell rather than execve: a script without a `#!` line runs too, as it does under
    # other clients, and "not found" and "permission denied" come with a shell's message and status.
    # The words are never parsed.
    return ["/bin/sh", "-c", 'exec "$@"', "certctl", *command, *arguments]


class _End(Enum):
    EXITED = auto()
    TIMED_OUT = auto()
    STOPPED = auto()


class _Output:
    """The reading ends of a command's output: of both streams in one, or of standard output and
    standard error. Keeps the last `limit` bytes, however many come.
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
        """Whether more may come."""
        return bool(self._selector.get_map())

    def pump(self, seconds: float) -> bool:
        """Wait up to `seconds` for output and take it; return whether there was any."""
        ready = self._selector.select(seconds) if self.open else []
        taken = [self._take(cast(IO[bytes], key.fileobj)) for key, _ in ready]
        return any(taken)

    def last_words(self) -> None:
        """Take what is left of its output; a background process may hold the pipe open for ever."""
        deadline = time.monotonic() + _LAST_WORDS
        while self.pump(0) and time.monotonic() < deadline:
            pass

    def text(self) -> str:
        """Return what is kept of both streams as text; a first line that was cut is left out."""
        return self._all.text()

    def printed(self) -> str:
        """Return what is kept of standard output."""
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
    """The last bytes of a stream, `limit` at most."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._cut = False

    def add(self, chunk: bytes) -> None:
        self._kept += chunk
        if len(self._kept) > 2 * self._limit:
            self._shorten()

    def text(self) -> str:
        """Return what is kept as text; a first line that was cut is left out."""
        if len(self._kept) > self._limit:
            self._shorten()
        text = self._kept.decode("utf-8", errors="replace")
        _, newline, rest = text.partition("\n") if self._cut else ("", "", "")
        return rest if newline else text

    def _shorten(self) -> None:
        del self._kept[: -self._limit]
        self._cut = True


def _watch(
    process: subprocess.Popen[bytes],
    output: _Output,
    deadline: float,
    stop: threading.Event | None,
) -> _End:
    """Wait for the command's end, its time limit, or `stop`, taking its output meanwhile."""
    while process.poll() is None:
        if stop is not None and stop.is_set():
            return _End.STOPPED
        left = deadline - time.monotonic()
        if left <= 0:
            return _End.TIMED_OUT
        _pause(process, output, min(left, _LOOK_EVERY))
    return _End.EXITED


def _end_group(process: subprocess.Popen[bytes], output: _Output, grace: float) -> None:
    """End the command and its group; return when they are gone, or cannot be ended."""
    _signal_group(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace
    # The shell often dies at once while what it started still tidies up: the grace is for the whole
    # group.
    while process.poll() is None or _signal_group(process.pid, 0):
        if time.monotonic() >= deadline:
            break
        _pause(process, output, _LOOK_EVERY)
    else:
        return
    _signal_group(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + grace
    # Not even SIGKILL ends a process that the kernel keeps in a system call; waiting for it would
    # hang certctl as well.
    while process.poll() is None and time.monotonic() < deadline:
        _pause(process, output, _LOOK_EVERY)


def _signal_group(group: int, number: int) -> bool:
    """Signal a process group; return whether there was anyone to take it (0 only asks)."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _pause(process: subprocess.Popen[bytes], output: _Output, seconds: float) -> None:
    """Let up to `seconds` pass, less if there is output or the command ends."""
    if output.open:
        output.pump(seconds)
    elif process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    else:
        time.sleep(seconds)
