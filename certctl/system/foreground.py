"""Runs a command again and again, as the only process of a container would."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

_STOP = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


def repeat(
    command: Sequence[str],
    every: float,
    *,
    variables: Mapping[str, str],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run a command at once and then every so many seconds, until SIGTERM, SIGINT or SIGHUP: a run
    under way is then stopped with SIGTERM and waited for. A run that takes longer delays the next.

    Each run is a process of its own, with nothing to read and this process's other streams. As
    process 1 of a container, this process also collects processes that a run left behind.
    """
    with _signals() as received:
        while True:
            due = clock() + every
            process = _start(command, variables)
            if _waited_for(process, received):
                return
            while (left := due - clock()) > 0:
                if received(left) & _STOP:
                    return
                _collect()


def _start(command: Sequence[str], variables: Mapping[str, str]) -> int:
    nothing = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    return os.posix_spawn(
        command[0], list(command), dict(variables), file_actions=[nothing], setsigdef=_STOP
    )


def _waited_for(process: int, received: Callable[[float | None], frozenset[int]]) -> bool:
    """Wait until a process has ended. Return whether this process was told to stop meanwhile."""
    stopped = False
    while process not in _collect():
        if received(None) & _STOP:
            stopped = True
            os.kill(process, signal.SIGTERM)  # it exists, since it has not been collected
    return stopped


def _collect() -> frozenset[int]:
    """Collect all child processes that have ended, and return them."""
    ended: set[int] = set()
    while True:
        try:
            process, _status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return frozenset(ended)
        if process == 0:
            return frozenset(ended)
        ended.add(process)


@contextmanager
def _signals() -> Iterator[Callable[[float | None], frozenset[int]]]:
    """Collect signals that stop this process, and those of children that end. Yield a function that
    waits so many seconds for any, and returns those that came.
    """
    numbers = (*_STOP, signal.SIGCHLD)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        before = [(number, signal.signal(number, _noted)) for number in numbers]
        descriptor = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)

        def received(seconds: float | None) -> frozenset[int]:
            ready, _, _ = select.select([ours], [], [], seconds)
            return frozenset(ours.recv(4096)) if ready else frozenset()

        try:
            yield received
        finally:
            signal.set_wakeup_fd(descriptor)
            for number, handler in before:
                signal.signal(number, handler)


def _noted(_number: int, _frame: object) -> None:
    """The number was written to the socket already."""
