"""Free TCP and UDP ports on loopback for servers that must be told their port beforehand.

Asking the kernel for port 0 and closing the socket again loses races: another test process, or
the local end of any outgoing connection, may take the port before the server binds it. So each
test process claims a block of ports below the kernel's ephemeral range, by a lock that ends with
the process, and hands each of them out once before it starts over.
"""

import fcntl
import functools
import os
import socket
import tempfile
import threading
from pathlib import Path

FIRST_PORT = 10_000
BLOCK_SIZE = 1000
# The last block ends below 32768, where Linux begins to number outgoing connections.
BLOCKS = 22


def free_port() -> int:
    """Return a port that is free now, on TCP and UDP, and given to nobody else meanwhile."""
    return _block_of_this_process().take()


def kept_port() -> int:
    """Return such a port, which this process gives to nobody else again: one at which nobody
    listens most of the time, such as that where a CA looks for answers.
    """
    return _block_of_this_process().take(keep=True)


class PortBlock:
    """A block of ports that belongs to this process until it ends."""

    def __init__(self, directory: Path) -> None:
        self._first, self._lock_fd = _claim(directory)
        self._next = 0
        self._kept: set[int] = set()
        self._mutex = threading.Lock()

    def take(self, *, keep: bool = False) -> int:
        """Return the next port of the block on which nobody listens; with `keep`, once and for
        all.
        """
        with self._mutex:
            for _ in range(BLOCK_SIZE):
                port = self._first + self._next
                self._next = (self._next + 1) % BLOCK_SIZE
                if port not in self._kept and _is_free(port):
                    self._kept |= {port} if keep else set()
                    return port
        raise OSError(f"no free port from {self._first} to {self._first + BLOCK_SIZE - 1}")


@functools.cache
def _block_of_this_process() -> PortBlock:
    # One block a process is the point: two allocators would hand out the same ports.
    return PortBlock(Path(tempfile.gettempdir()) / f"certctl-test-ports-{os.getuid()}")


def _claim(directory: Path) -> tuple[int, int]:
    directory.mkdir(mode=0o700, exist_ok=True)
    for block in range(BLOCKS):
        # Never closed: the kernel lets go of the lock when the process ends, however it ends.
        lock_fd = os.open(directory / str(block), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock_fd)
            continue
        return FIRST_PORT + block * BLOCK_SIZE, lock_fd
    raise OSError(f"all {BLOCKS} blocks of ports are taken by running tests")


def _is_free(port: int) -> bool:
    # Binding the wildcard address fails if any single address has the port.
    family, host = (socket.AF_INET6, "::") if socket.has_dualstack_ipv6() else (socket.AF_INET, "")
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(family, kind) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True
