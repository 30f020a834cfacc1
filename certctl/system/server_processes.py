"""Running processes as /proc shows them (Linux): their command line, parent, start and program.

Under the shipped systemd unit, root has no CAP_SYS_PTRACE, and cannot see which file a process of
another user runs, nor its namespaces: these are then None.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from certctl.model.lazy_dataclass import dataclass

_PROC = Path("/proc")
_DELETED = " (deleted)"
_LONGEST = 64 * 1024


@dataclass(frozen=True)
class ServerProcess:
    """One process. `title`: its command line with spaces between the words, as servers may rewrite
    it. `owners`: its user ids. `started`: seconds since 1970. `executable`: the file it runs, None
    if that cannot be read; `replaced`: that file has been replaced or removed since.
    """

    pid: int
    parent: int
    title: str
    owners: frozenset[int]
    started: float
    executable: str | None = None
    replaced: bool = False
    same_files: bool | None = None
    """Whether it sees the same files: no other mount namespace or root directory; None if that
    cannot be read.
    """
    same_network: bool | None = None
    directory: str | None = None
    """Its working directory, None if that cannot be read."""
    words: tuple[str, ...] = ()
    """Its command line."""


def processes() -> Iterator[ServerProcess]:
    """Yield the processes of this machine; those that end in the meantime are left out."""
    with contextlib.suppress(OSError):
        for entry in _PROC.iterdir():
            if entry.name.isdigit() and (found := process(int(entry.name))) is not None:
                yield found


def process(pid: int) -> ServerProcess | None:
    """Return a process, None if it has ended."""
    directory = _PROC / str(pid)
    try:
        with (directory / "cmdline").open("rb") as file:
            words = file.read(_LONGEST)
        stat = (directory / "stat").read_text(encoding="utf-8", errors="replace")
        status = (directory / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    if not words or len(fields) < 20 or fields[0] == "Z":
        return None
    executable = _link(directory / "exe")
    # Not the owner of the directory: a process can make that root.
    users = next(line.split()[1:] for line in status.splitlines() if line.startswith("Uid:"))
    return ServerProcess(
        pid,
        int(fields[1]),
        " ".join(os.fsdecode(words).split("\0")).strip(),
        frozenset(map(int, users)),
        _since_1970(int(fields[19])),
        None if executable is None else executable.removesuffix(_DELETED),
        executable is not None and executable.endswith(_DELETED),
        _all(_same(directory, "ns/mnt"), _same(directory, "root")),
        _same(directory, "ns/net"),
        _link(directory / "cwd"),
        tuple(os.fsdecode(words).removesuffix("\0").split("\0")),
    )


def environment(pid: int) -> dict[str, str] | None:
    """Return the environment that a process was started with; None if that cannot be read."""
    try:
        data = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    pairs = (each.partition("=") for each in os.fsdecode(data).split("\0"))
    return {name: value for name, separator, value in pairs if separator}


def unit(pid: int) -> str | None:
    """Return the systemd service that a process belongs to, None if there is none."""
    try:
        text = (_PROC / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    names = (line.rpartition("/")[2] for line in text.splitlines())
    return next((each for each in names if each.endswith(".service")), None)


def running_file(process: ServerProcess) -> str:
    """Return a path of the program that a process runs, also if its file has been replaced."""
    if process.replaced or process.executable is None:
        return str(_PROC / str(process.pid) / "exe")
    return process.executable


def _since_1970(ticks: int) -> float:
    after_boot = ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + after_boot


def _same(directory: Path, kind: str) -> bool | None:
    other, own = _link(directory / kind), _link(_PROC / "self" / kind)
    return None if other is None or own is None else other == own


def _all(*known: bool | None) -> bool | None:
    return False if False in known else None if None in known else True


def _link(path: Path) -> str | None:
    try:
        return os.fspath(path.readlink())
    except OSError:
        return None
