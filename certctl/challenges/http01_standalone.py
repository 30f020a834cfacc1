"""HTTP-01 (RFC 8555 §8.3) with certctl's own server, which runs only while an answer is needed.

All orders of a run that use this solver share one listener: it opens for the first answer, and
closes when the last one is removed. Concurrent runs take turns.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial

from certctl.challenges.answers import Answers
from certctl.challenges.challenge_server import ChallengeServer
from certctl.challenges.http01 import check_task, placement
from certctl.challenges.http01_server import HttpConnection
from certctl.challenges.listeners import HTTP_01, open_when_free
from certctl.challenges.port_turns import PortTurn
from certctl.challenges.shared_answers import Holders
from certctl.challenges.system import SolverSystem
from certctl.model.ca import ChallengeType
from certctl.model.ports import Solver
from certctl.model.spec import ChallengeSpec
from certctl.model.validation import Placement, Task
from certctl.rules.options import Option

NAME = "standalone"
OPTIONS: tuple[Option, ...] = ()
"""No options of its own: the settings named `challenge.*` are in `certctl.rules.options`."""


def create(challenge: ChallengeSpec, system: SolverSystem) -> Solver:
    """Return a solver that listens on the spec's address and port."""
    return StandaloneSolver(challenge.http_address, challenge.http_port, system)


class StandaloneSolver:
    """Answers HTTP-01 challenges on `address` (None: all addresses) and `port`."""

    def __init__(self, address: str | None, port: int, system: SolverSystem) -> None:
        self._address = address
        self._port = port
        self._system = system
        self._mutex = threading.Lock()
        self._port_turn = PortTurn(port, self._mutex, system)
        self._answers = Answers[str]()
        self._holders = Holders()
        self._server: ChallengeServer | None = None

    @property
    def challenge_types(self) -> Sequence[str]:
        return (ChallengeType.HTTP_01,)

    def plan(self, task: Task) -> Placement:
        check_task(task)
        return placement(NAME, task)

    def present(self, placements: Sequence[Placement]) -> None:
        """Start to answer requests for the tokens.

        Raises `ChallengeError` if the port cannot be opened, naming the process that uses it, and
        `LockHeld` if another certctl does not release it in time.
        """
        if not placements:
            return
        with self._mutex:
            self._port_turn.join()
            if self._server is None:
                self._server = self._open()
            for each in placements:
                token = each.data["token"]
                self._holders.hold(token, each.certificate)
                self._answers.add(token, each.data["key_authorization"])

    def wait(self, placements: Sequence[Placement]) -> None:
        """Return at once: answers are served as soon as `present` returns."""

    def wait_for_validation(self, placements: Sequence[Placement]) -> None:
        """Return once each token was requested, or after `REQUEST_WAIT_SECONDS`."""
        self._answers.wait_for_validation((each.data["token"] for each in placements), self._system)

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

    def _open(self) -> ChallengeServer:
        self._port_turn.start()
        try:
            listeners = open_when_free(self._address, self._port, HTTP_01, self._system)
        except BaseException:
            self._port_turn.end()
            raise
        return ChallengeServer(listeners, partial(HttpConnection, self._answers), "http-01")

    def _close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self._port_turn.end()
