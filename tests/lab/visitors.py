"""Visitors who never stop asking: each request that gets no good answer is a lost one.

A visitor asks over one connection for as long as it is kept, or over a new one each time. Where a
kept connection was closed between two requests, before anything of an answer came, the request is
sent once more over a new one, as RFC 9110 §9.2.2 lets every client do: that is no loss.
"""

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.sites import HOST

SECONDS = 20.0
PAUSE_SECONDS = 0.004

_CLOSED = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


@dataclass
class Seen:
    """What visitors have met so far. `lost` says of each lost request what became of it; `serials`
    has the certificates that were shown for each name.
    """

    answered: int = 0
    reconnected: int = 0
    lost: list[str] = field(default_factory=list)
    serials: dict[str, set[int]] = field(default_factory=dict)
    answers: list[dict[str, Any]] = field(default_factory=list)
    mutex: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def visitors(port: int, names: Sequence[str], root: Path) -> Iterator[Seen]:
    """Visit each name while the context lasts, by connections that are kept and by new ones, all
    verified up to `root`.
    """
    context = ssl.create_default_context(cafile=root)
    seen, stop = Seen(), threading.Event()
    threads = [
        threading.Thread(target=_visit, args=(context, port, name, kept, seen, stop), daemon=True)
        for name in names
        for kept in (True, True, False)
    ]
    for each in threads:
        each.start()
    try:
        yield seen
    finally:
        stop.set()
        for each in threads:
            each.join()


def _visit(
    context: ssl.SSLContext,
    port: int,
    name: str,
    kept: bool,
    seen: Seen,
    stop: threading.Event,
) -> None:
    connection: _Connection | None = None
    while not stop.wait(PAUSE_SECONDS):
        reused = connection is not None
        try:
            connection = connection or _Connection(context, port, name, seen)
            connection.ask(seen)
            ended = connection.ending or not kept
        except (OSError, http.client.HTTPException, ValueError) as error:
            _note(error, seen, reused=reused)
            ended = True
        if ended and connection is not None:
            connection.close()
            connection = None
    if connection is not None:
        connection.close()


def _note(error: Exception, seen: Seen, *, reused: bool) -> None:
    with seen.mutex:
        if reused and isinstance(error, _CLOSED):
            seen.reconnected += 1
        else:
            seen.lost.append(repr(error))


class _Connection:
    """A connection whose certificate was verified for `name`."""

    def __init__(self, context: ssl.SSLContext, port: int, name: str, seen: Seen) -> None:
        self._http = http.client.HTTPConnection(name, port, timeout=SECONDS)
        plain = socket.create_connection((HOST, port), SECONDS)
        try:
            secured = context.wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise
        self._http.sock = secured
        self.ending = False
        shown = secured.getpeercert() or {}
        with seen.mutex:
            seen.serials.setdefault(name, set()).add(int(str(shown["serialNumber"]), 16))

    def ask(self, seen: Seen) -> None:
        """Send one request and count its answer. Raises `ValueError` for one that is no success."""
        self._http.request("GET", "/")
        response = self._http.getresponse()
        body = response.read()
        self.ending = response.will_close
        if response.status != 200:
            raise ValueError(f"{response.status}: {body[:80]!r}")
        answer = json.loads(body)
        with seen.mutex:
            seen.answered += 1
            if answer not in seen.answers:
                seen.answers.append(answer)

    def close(self) -> None:
        self._http.close()
