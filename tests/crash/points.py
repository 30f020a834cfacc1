"""The system calls of one certctl command, and the same command with a mishap at one of them.

strace tells which calls there are, and injects: a SIGKILL in place of a call, or an error as its
result. Only calls on the home folder and on the network count, not those of Python's own start.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ON_FILES = (
    *("rename", "renameat", "renameat2", "symlink", "symlinkat", "link", "linkat"),
    *("unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "chmod", "fchmod", "fchmodat"),
    *("fsync", "fdatasync", "ftruncate", "openat", "write", "pwrite64"),
)
ON_NETWORK = ("connect", "sendto", "sendmsg")
LONGEST_SECONDS = 60.0

ERRORS: Mapping[str, frozenset[str]] = {
    "ENOSPC": frozenset({"openat", "write", "pwrite64", "fsync", "mkdir", "mkdirat", "rename",
                         "renameat", "renameat2", "symlink", "symlinkat"}),
    "EIO": frozenset({"write", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "renameat2",
                      "unlink", "unlinkat"}),
    "EACCES": frozenset({"openat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "symlink",
                         "symlinkat", "unlink", "unlinkat", "chmod", "fchmod", "fchmodat"}),
}  # fmt: skip
"""Which calls can fail how."""

_CALL = re.compile(r"(\d+) +(\w+)\((.*)")


@dataclass(frozen=True)
class Point:
    """The `number`-th call of its name in the main thread; `what` is how strace shows it."""

    call: str
    number: int
    what: str

    def __str__(self) -> str:
        return f"{self.call} #{self.number}: {self.what[:120]}"


@dataclass(frozen=True)
class Ended:
    """How a command ended; the status is negative for a signal."""

    status: int
    output: str


def points(arguments: Sequence[str], home: Path, scratch: Path) -> list[Point]:
    """Run a command to its end, and return the calls at which something could go wrong."""
    trace = scratch / "trace"
    ended = _strace(
        ["-y", "-s", "64", "-o", str(trace), "-e", f"trace={','.join(ON_FILES + ON_NETWORK)}"],
        arguments,
        home,
    )
    assert ended.status == 0, ended.output
    found: list[Point] = []
    counts: Counter[str] = Counter()
    main: str | None = None
    for line in trace.read_text(errors="replace").splitlines():
        match = _CALL.match(line)
        if match is None:
            continue
        thread, call, rest = match.groups()
        main = main or thread
        if thread != main:
            continue
        counts[call] += 1
        if _matters(call, rest, home):
            found.append(Point(call, counts[call], rest))
    return found


def mishap(point: Point, how: str, arguments: Sequence[str], home: Path) -> Ended:
    """Run a command with a mishap at a point: `signal=KILL`, or `error=ENOSPC` and the like."""
    inject = f"inject={point.call}:{how}:when={point.number}"
    return _strace(["-o", os.devnull, "-e", f"trace={point.call}", "-e", inject], arguments, home)


def certctl(arguments: Sequence[str], home: Path) -> Ended:
    """Run a command as it is."""
    return _run([sys.executable, "-m", "certctl", *arguments], home)


def _matters(call: str, arguments: str, home: Path) -> bool:
    if call == "openat" and "O_CREAT" not in arguments:
        return False
    on_network = call in ON_NETWORK or "<socket:" in arguments or "<TCP" in arguments
    return on_network or str(home) in arguments


def _strace(options: Sequence[str], arguments: Sequence[str], home: Path) -> Ended:
    command = ["strace", "-f", "-qq", "-e", "signal=none", *options]
    # Not with --seccomp-bpf: some versions of strace then inject no signal.
    return _run([*command, sys.executable, "-m", "certctl", *arguments], home)


def _run(command: Sequence[str], home: Path) -> Ended:
    done = subprocess.run(
        command,
        env={**os.environ, "CERTCTL_HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=LONGEST_SECONDS,
    )
    return Ended(done.returncode, done.stdout)
