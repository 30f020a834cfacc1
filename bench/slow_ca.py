"""A CA that takes its time: the development CA in a process of its own, which validates after a
while, and then issues no sooner than its `Retry-After` says, as Let's Encrypt does.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from certctl.devca.server import DevCa
from certctl.devca.settings import DevCaSettings
from tests.lab.ports import free_port

VALIDATION_SECONDS = 1.5
RETRY_AFTER = 3.0


@dataclass(frozen=True)
class SlowCa:
    """A running CA."""

    directory_url: str
    ca_bundle: Path
    http_port: int
    pipe: Connection

    def request_count(self) -> int:
        """Return how many requests it has received so far."""
        self.pipe.send("count")
        return int(self.pipe.recv())


@contextmanager
def slow_ca() -> Iterator[SlowCa]:
    """Run a CA that validates for `VALIDATION_SECONDS` and processes for `RETRY_AFTER`."""
    port = free_port()
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    server = spawn.Process(target=_serve, args=(theirs, port))
    server.start()
    try:
        yield SlowCa(*ours.recv(), port, ours)
    finally:
        ours.send("stop")
        server.join()


def _serve(pipe: Connection, port: int) -> None:
    settings = DevCaSettings(
        http_port=port, validation_seconds=VALIDATION_SECONDS, processing=RETRY_AFTER
    )
    with DevCa(None, settings=settings) as ca:
        pipe.send((ca.directory_url, ca.tls_ca_bundle))
        while pipe.recv() == "count":
            pipe.send(ca.requests.count())
