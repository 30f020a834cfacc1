"""Finds the process that listens on a TCP port, from /proc (Linux only). Used in error messages:
anything that cannot be read is left out.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator, Sequence
from pathlib import Path

from certctl.model.lazy_dataclass import dataclass

_PROC = Path("/proc")
_TABLES = (_PROC / "net" / "tcp", _PROC / "net" / "tcp6")
_LISTEN = "0A"


@dataclass(frozen=True)
class Listener:
    """A listening socket in the kernel's table: its inode, and the id of the user who opened it."""

    inode: str
    uid: int


def describe_holder(port: int) -> str | None:
    """Return the process that listens on `port`, such as `nginx (pid 812)`, or None if unknown.

    If the server has several processes, this is the one with the lowest pid, usually the parent.
    """
    listeners = _all_listeners(port)
    if not listeners:
        return None
    pid = min(_holders(listeners), default=None)
    if pid is not None:
        return f"{_command(pid)} (pid {pid})"
    # Other users' file descriptors can be read only by root, but the table has the user id.
    return f"a process of the user {_user(listeners[0].uid)}"


def program_at(port: int) -> str | None:
    """Return the name of the program that listens on `port`, None if nothing does, or unknown."""
    pid = min(_holders(_all_listeners(port)), default=None)
    return None if pid is None else _command(pid)


def may_become_free(port: int) -> bool:
    """Return whether the port is used by another certctl, which will release it, or has already
    been released.
    """
    listeners = _all_listeners(port)
    holders = list(_holders(listeners))
    if not holders:
        return all(each.uid == os.geteuid() for each in listeners)
    return all(pid != os.getpid() and _is_certctl_or_exits(pid) for pid in holders)


def held_by_others(port: int, pid: int) -> str | None:
    """Return a process other than `pid` and its children that listens on `port` in the network of
    `pid`, None if there is none. Where sockets cannot be read, they count as those of `pid`.
    """
    directory = _PROC / str(pid)
    tables = (directory / "net" / "tcp", directory / "net" / "tcp6")
    listeners = [each for table in tables for each in _listeners(table, port)]
    own = _sockets(pid)
    others = {each.inode for each in listeners} - (own or set())
    if own is None or not others:
        return None
    holder = min((each for each in _pids() if _has_socket(each, others)), default=None)
    return "another process" if holder is None else f"{_command(holder)} (pid {holder})"


def holds(port: int, pid: int) -> bool | None:
    """Return whether a process listens on a TCP port; None if its sockets cannot be read."""
    directory = _PROC / str(pid)
    tables = (directory / "net" / "tcp", directory / "net" / "tcp6")
    own = _sockets(pid)
    if own is None:
        return None
    return any(each.inode in own for table in tables for each in _listeners(table, port))


def parse_table(text: str, port: int) -> list[Listener]:
    """Return the listeners on `port` in a table in the format of /proc/net/tcp (proc(5))."""
    rows = (line.split() for line in text.splitlines()[1:])
    return [
        Listener(inode=row[9], uid=int(row[7]))
        for row in rows
        if len(row) > 9 and row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port
    ]


def _all_listeners(port: int) -> list[Listener]:
    return [listener for table in _TABLES for listener in _listeners(table, port)]


def _holders(listeners: Sequence[Listener]) -> Iterator[int]:
    inodes = {each.inode for each in listeners}
    return (pid for pid in _pids() if inodes and _has_socket(pid, inodes))


def _is_certctl_or_exits(pid: int) -> bool:
    """Return whether a process is certctl, or is gone or about to be: a process that exits loses
    its command line before its sockets.
    """
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:
        return False
    return words == [b""] or any(Path(os.fsdecode(word)).name == "certctl" for word in words)


def _listeners(table: Path, port: int) -> list[Listener]:
    try:
        return parse_table(table.read_text(encoding="ascii"), port)
    except (OSError, ValueError):
        return []


def _pids() -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from (int(each.name) for each in _PROC.iterdir() if each.name.isdigit())


def _has_socket(pid: int, inodes: set[str]) -> bool:
    wanted = {f"socket:[{inode}]" for inode in inodes}
    with contextlib.suppress(OSError):
        for descriptor in (_PROC / str(pid) / "fd").iterdir():
            # It may have been closed since the directory was listed.
            with contextlib.suppress(OSError):
                if str(descriptor.readlink()) in wanted:
                    return True
    return False


def _sockets(pid: int) -> set[str] | None:
    """Return the inodes of the sockets that a process has open; None if they cannot be read."""
    found: set[str] = set()
    try:
        for descriptor in (_PROC / str(pid) / "fd").iterdir():
            # It may have been closed since the directory was listed.
            with contextlib.suppress(FileNotFoundError):
                text = str(descriptor.readlink())
                if text.startswith("socket:["):
                    found.add(text[8:-1])
    except OSError:
        return None
    return found


def _command(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "a process"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
