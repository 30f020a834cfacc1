"""The system calls of one certctl command, and the same command with a mishap at one of them.

strace tells which calls there are, and injects: a SIGKILL in place of a call, or an error as its
result. Only calls on the home directory and on the network count, not those of Python's own start.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.crash.forked import Forked

ON_FILES = (
    *("rename", "renameat", "renameat2", "symlink", "symlinkat", "link", "linkat"),
    *("unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "chmod", "fchmod", "fchmodat"),
    *("fsync", "fdatasync", "ftruncate", "openat", "write", "pwrite64"),
)
ON_NETWORK = ("connect", "sendto", "sendmsg")
LONGEST_SECONDS = 60.0

LOST = "ECONNRESET"
"""What a call on the network may come to."""

ERRORS: Mapping[str, frozenset[str]] = {
    "ENOSPC": frozenset({"openat", "write", "pwrite64", "fsync", "mkdir", "mkdirat", "rename",
                         "renameat", "renameat2", "symlink", "symlinkat"}),
    "EIO": frozenset({"write", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "renameat2",
                      "unlink", "unlinkat"}),
    "EACCES": frozenset({"openat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "symlink",
                         "symlinkat", "unlink", "unlinkat", "chmod", "fchmod", "fchmodat"}),
}  # fmt: skip
"""Which calls on files can fail how."""

_PYTHON = (sys.prefix, sys.base_prefix, str(Path(__file__).resolve().parents[2]))
"""Where the files of Python, its libraries and certctl are."""

_CALL = re.compile(r"(\d+) +(\w+)\((.*)")


@dataclass(frozen=True)
class Point:
    """The `number`-th call of its name in a thread; `what` is how strace shows it, and `elsewhere`
    those of that number in other threads.
    """

    call: str
    number: int
    what: str
    elsewhere: tuple[str, ...] = ()

    @property
    def on_network(self) -> bool:
        """Whether it speaks to somebody, or within certctl by a pair of sockets; not on a file."""
        return self.call in ON_NETWORK or "<TCP" in self.what or "<UNIX" in self.what

    def can(self, how: str) -> bool:
        """Whether that mishap can happen here: `signal=KILL`, or an error that it could have."""
        kind, _, error = how.partition("=")
        if kind == "signal":
            return True
        if error == LOST:
            struck = " ".join((self.what, *self.elsewhere))
            # By a pair of sockets threads wake each other, which nothing can reset.
            return "<TCP" in struck and "<UNIX" not in struck
        return not self.on_network and self.call in ERRORS[error]

    def __str__(self) -> str:
        return f"{self.call} #{self.number}: {self.what[:120]}"


@dataclass(frozen=True)
class Ended:
    """How a command ended; the status is negative for a signal.

    `missed` is the call that was struck in place of the one that was meant, if there was one.
    """

    status: int
    output: str
    missed: str = ""


def points(
    arguments: Sequence[str],
    home: Path,
    scratch: Path,
    *,
    threads: bool = False,
    forked: Forked | None = None,
    places: Sequence[str] = (),
) -> list[Point]:
    """Run a command to its end, and return the calls at which something could go wrong. `forked`
    runs it, if given; calls on `places` count as well.

    Those of the main thread, or with `threads` those of any: strace counts for each thread by
    itself, so that a mishap then strikes every thread that comes so far, or the first to do so.
    A number that would strike the opening of one of Python's own files is left out then.
    """
    trace = scratch / "trace"
    traced = f"trace={','.join(ON_FILES + ON_NETWORK)}"
    options = ("-yy", "-s", "64", "-o", str(trace), "-e", traced)
    ended = _strace(options, arguments, home, threads=threads, forked=forked)
    assert ended.status == 0, ended.output
    found: dict[tuple[str, int], Point] = {}
    others: set[tuple[str, int]] = set()
    counts: Counter[tuple[str, str]] = Counter()
    main: str | None = None
    for line in trace.read_text(errors="replace").splitlines():
        match = _CALL.match(line)
        if match is None:
            continue
        thread, call, rest = match.groups()
        main = main or thread
        if not (threads or thread == main):
            continue
        counts[thread, call] += 1
        number = counts[thread, call]
        if _matters(call, rest, (str(home), *places)):
            known = found.get((call, number))
            found[call, number] = (
                replace(known, elsewhere=(*known.elsewhere, rest))
                if known
                else Point(call, number, rest)
            )
        elif call == "openat" and str(home) not in rest:
            others.add((call, number))
    return [point for at, point in found.items() if not (threads and at in others)]


def mishap(
    point: Point,
    how: str,
    arguments: Sequence[str],
    home: Path,
    *,
    threads: bool = False,
    forked: Forked | None = None,
) -> Ended:
    """Run a command with a mishap at a point: `signal=KILL`, or `error=ENOSPC` and the like.

    A command does not open the same files in the same order each time, above all in threads. So an
    error may strike the opening of one of Python's own files instead, which shows nothing.
    """
    opens = point.call == "openat" and how.startswith("error=")
    inject = f"inject={point.call}:{how}:when={point.number}"
    with tempfile.NamedTemporaryFile("r", prefix="struck-", errors="replace") as struck:
        trace = struck.name if opens else os.devnull
        options = ("-yy", "-o", trace, "-e", f"trace={point.call}", "-e", inject)
        ended = _strace(options, arguments, home, threads=threads, forked=forked)
        injected = _injected(struck) if opens else []
    own = [each for each in injected if any(f'"{root}/' in each for root in _PYTHON)]
    return replace(ended, missed="".join(own))


def _injected(trace: Iterable[str]) -> list[str]:
    """The calls that an error was injected into; one that another thread cut in two is one line."""
    found: list[str] = []
    begun: dict[str, str] = {}
    for line in trace:
        thread = line.split(maxsplit=1)[0]
        if "<unfinished ...>" in line:
            begun[thread] = line
        elif "(INJECTED)" in line:
            found.append(begun.get(thread, "") + line if "resumed>" in line else line)
    return found


def certctl(arguments: Sequence[str], home: Path, *, forked: Forked | None = None) -> Ended:
    """Run a command as it is."""
    if forked is not None:
        return Ended(*forked.run(arguments, home, (), LONGEST_SECONDS))
    return _run([sys.executable, "-m", "certctl", *arguments], home)


def _matters(call: str, arguments: str, places: Sequence[str]) -> bool:
    if call == "openat" and "O_CREAT" not in arguments:
        return False
    return Point(call, 0, arguments).on_network or any(each in arguments for each in places)


def _strace(
    options: Sequence[str],
    arguments: Sequence[str],
    home: Path,
    *,
    threads: bool,
    forked: Forked | None = None,
) -> Ended:
    # Not with --seccomp-bpf: some versions of strace then inject no signal.
    options = ("-e", "signal=none", *options)
    if forked is not None:
        return Ended(*forked.run(arguments, home, options, LONGEST_SECONDS))
    if threads:
        program = [sys.executable, "-m", "tests.crash.prepared"]
        return _run([*program, *options, "--", *arguments], home)
    certctl = (sys.executable, "-m", "certctl")
    return _run(["strace", "-f", "-qq", *options, *certctl, *arguments], home)


def _run(command: Sequence[str], home: Path) -> Ended:
    process = subprocess.Popen(
        command,
        env={**os.environ, "CERTCTL_HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    try:
        output, _ = process.communicate(timeout=LONGEST_SECONDS)
    except subprocess.TimeoutExpired:
        # With strace alone gone, the command would go on, and hold its locks and its port.
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise AssertionError(f"{command} hangs after {LONGEST_SECONDS} s:\n{output}") from None
    return Ended(process.returncode, output)
