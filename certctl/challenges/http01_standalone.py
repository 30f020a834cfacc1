"""HTTP-01 by a small server of certctl's own (RFC 8555 §8.3), open only while an answer is needed.

All orders of a run that use this solver share one listener: the first answer opens it, the last
one to go closes it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence

from certctl.challenges.holders import Holders
from certctl.challenges.http01 import check_task, placement
from certctl.challenges.http01_server import Answers, ChallengeServer
from certctl.challenges.listening import PORT_TAKEN, open_listeners
from certctl.challenges.port_holders import may_come_free
from certctl.challenges.system import SolverSystem
from certctl.errors import ChallengeError
from certctl.models import ChallengeSpec, ChallengeType, Placement, Task
from certctl.options import Option
from certctl.ports import Solver

NAME = "standalone"
OPTIONS: tuple[Option, ...] = ()
"""None of its own: the settings named `challenge.*` stand in `certctl.options`."""

SETTLE_SECONDS = 3.0
"""How long to wait for the CA's request before it is polled all the same: another machine behind a
load balancer may get it, and none comes for a name that does not resolve.
"""

PORT_PATIENCE = 60.0
"""Seconds to wait for a port that another certctl answers at."""

_LOOK_AT_PORT_EVERY = 0.2
_LOOK_AT_STOP_EVERY = 0.1


def create(challenge: ChallengeSpec, system: SolverSystem) -> Solver:
    """Return a solver that listens at the address and the port that the spec names."""
    return StandaloneSolver(challenge.http_address, challenge.http_port, system)


class StandaloneSolver:
    """Answers HTTP-01 challenges at `address` (None for every address) and `port`."""

    def __init__(self, address: str | None, port: int, system: SolverSystem) -> None:
        self._address = address
        self._port = port
        self._system = system
        self._mutex = threading.Lock()
        self._answers = Answers()
        self._holders = Holders()
        self._server: ChallengeServer | None = None

    @property
    def challenge_type(self) -> str:
        return ChallengeType.HTTP_01

    def place(self, task: Task) -> Placement:
        check_task(task)
        return placement(NAME, task)

    def present(self, placements: Sequence[Placement]) -> None:
        """Answer the tokens from now on.

        Raises `ChallengeError` where the port cannot be had; its message names who has it.
        """
        if not placements:
            return
        with self._mutex:
            if self._server is None:
                self._server = ChallengeServer(self._listen(), self._answers)
            for each in placements:
                token = each.data["token"]
                self._holders.hold(token, each.certificate)
                self._answers.add(token, each.data["key_authorization"])

    def _listen(self) -> list[socket.socket]:
        """Open the port, after another certctl that has it, which will not have it for long."""
        clock = self._system.clock
        give_up = clock.monotonic() + PORT_PATIENCE
        while True:
            try:
                return open_listeners(self._address, self._port)
            except ChallengeError as error:
                waits = error.code == PORT_TAKEN and clock.monotonic() < give_up
                if not (waits and may_come_free(self._port)):
                    raise
                if clock.wait(self._system.stop, _LOOK_AT_PORT_EVERY):
                    raise

    def wait(self, placements: Sequence[Placement]) -> None:
        """Return at once: what is presented is there."""

    def settle(self, placements: Sequence[Placement]) -> None:
        """Return once each token was asked for, after `SETTLE_SECONDS`, or when told to stop."""
        clock, stop = self._system.clock, self._system.stop
        all_asked = self._answers.watch(each.data["token"] for each in placements)
        deadline = clock.monotonic() + SETTLE_SECONDS
        try:
            while not all_asked.is_set() and not stop.is_set():
                left = deadline - clock.monotonic()
                if left <= 0:
                    return
                clock.wait(all_asked, min(left, _LOOK_AT_STOP_EVERY))
        finally:
            self._answers.unwatch(all_asked)

    def cleanup(self, placements: Sequence[Placement]) -> None:
        with self._mutex:
            for each in placements:
                token = each.data["token"]
                if self._holders.release(token, each.certificate):
                    self._answers.remove(token)
            if not len(self._answers):
                self._close()

    def close(self) -> None:
        with self._mutex:
            self._close()

    def _close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
