"""TLS-ALPN-01 (RFC 8737) with certctl's own server, which runs only while an answer is needed.

All orders of a run that use this solver share one listener. A CA sends only the name, so if two
orders have different answers for one name, the second waits until the first is done.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Sequence
from functools import partial

from certctl.challenges.answers import Answers
from certctl.challenges.challenge_server import ChallengeServer
from certctl.challenges.listeners import TLS_ALPN_01, open_when_free
from certctl.challenges.port_turns import PortTurn
from certctl.challenges.shared_answers import Holders
from certctl.challenges.system import SolverSystem
from certctl.challenges.tls_alpn01_server import (
    TlsConnection,
    sni_context,
    tls_context,
)
from certctl.model.ca import ChallengeType
from certctl.model.errors import ChallengeError, Interrupted
from certctl.model.names import parse_identifier
from certctl.model.ports import Solver
from certctl.model.spec import ChallengeSpec
from certctl.model.validation import Placement, Task
from certctl.rules.options import Option
from certctl.rules.validation_certificate import (
    server_name,
    validation_certificate,
)

NAME = "tls-alpn"
OPTIONS: tuple[Option, ...] = ()
"""No options of its own: the settings named `challenge.*` are in `certctl.rules.options`."""

_TURN_POLL_SECONDS = 0.05


def create(challenge: ChallengeSpec, system: SolverSystem) -> Solver:
    """Return a solver that listens on the spec's address and port."""
    return TlsAlpnSolver(challenge.tls_alpn_address, challenge.tls_alpn_port, system)


class TlsAlpnSolver:
    """Answers TLS-ALPN-01 challenges on `address` (None: all addresses) and `port`."""

    def __init__(self, address: str | None, port: int, system: SolverSystem) -> None:
        self._address = address
        self._port = port
        self._system = system
        self._mutex = threading.Lock()
        self._port_turn = PortTurn(port, self._mutex, system)
        self._answers = Answers[ssl.SSLContext]()
        self._holders = Holders()
        # The answers for each name, which are served one after the other.
        self._queues: dict[str, list[Placement]] = {}
        self._server: ChallengeServer | None = None

    @property
    def challenge_types(self) -> Sequence[str]:
        return (ChallengeType.TLS_ALPN_01,)

    def plan(self, task: Task) -> Placement:
        if task.type != ChallengeType.TLS_ALPN_01:
            raise ChallengeError(
                f"{task.identifier}: the challenge is {task.type}, not tls-alpn-01",
                code="challenge.tls_alpn",
            )
        if task.identifier.wildcard:
            raise ChallengeError(
                f"{task.identifier}: tls-alpn-01 cannot validate a wildcard",
                hint="Use DNS-01 instead: --dns PROVIDER.",
                code="challenge.tls_alpn.wildcard",
            )
        return Placement(
            solver=NAME,
            certificate=task.certificate,
            identifier=task.identifier.value,
            data={
                "server_name": server_name(task.identifier),
                "key_authorization": task.key_authorization,
            },
        )

    def present(self, placements: Sequence[Placement]) -> None:
        """Serve the answers from now on, or as soon as it is their turn.

        All of them are queued in one step, so that two orders cannot deadlock. Raises
        `ChallengeError` if the port cannot be opened, naming the process that uses it, and
        `LockHeld` if another certctl does not release it in time.
        """
        if not placements:
            return
        with self._mutex:
            self._port_turn.join()
            if self._server is None:
                self._server = self._open()
            for each in placements:
                key = _answer_of(each)
                queue = self._queues.setdefault(each.data["server_name"], [])
                self._holders.hold(key, each.certificate)
                if key not in map(_answer_of, queue):
                    queue.append(each)
                if len(queue) == 1:
                    self._serve(each)

    def wait(self, placements: Sequence[Placement]) -> None:
        """Return once all of the answers are served. Raises `Interrupted`."""
        while not self._all_served(placements):
            if self._system.clock.wait(self._system.stop, _TURN_POLL_SECONDS):
                raise Interrupted("stopped while waiting for the validation of another certificate")

    def wait_for_validation(self, placements: Sequence[Placement]) -> None:
        """Return once each name was requested, or after `REQUEST_WAIT_SECONDS`."""
        self._answers.wait_for_validation(
            (each.data["server_name"] for each in placements), self._system
        )

    def cleanup(self, placements: Sequence[Placement]) -> None:
        with self._mutex:
            for each in placements:
                if self._holders.release(_answer_of(each), each.certificate):
                    self._end_turn(each)
            if not self._queues:
                self._close()

    def close(self) -> None:
        with self._mutex:
            self._close()

    def _open(self) -> ChallengeServer:
        self._port_turn.start()
        try:
            listeners = open_when_free(self._address, self._port, TLS_ALPN_01, self._system)
        except BaseException:
            self._port_turn.end()
            raise
        connection = partial(TlsConnection, self._answers, sni_context(self._answers))
        return ChallengeServer(listeners, connection, "tls-alpn-01")

    def _serve(self, placement: Placement) -> None:
        certificate = validation_certificate(
            parse_identifier(placement.identifier),
            placement.data["key_authorization"],
            self._system.clock.now(),
        )
        self._answers.add(placement.data["server_name"], tls_context(certificate))

    def _all_served(self, placements: Sequence[Placement]) -> bool:
        with self._mutex:
            return all(
                [_answer_of(turn) for turn in self._queues.get(each.data["server_name"], ())][:1]
                == [_answer_of(each)]
                for each in placements
            )

    def _end_turn(self, placement: Placement) -> None:
        name, key = placement.data["server_name"], _answer_of(placement)
        queue = self._queues.get(name, [])
        remaining = [each for each in queue if _answer_of(each) != key]
        if remaining == queue:
            return  # another process placed it, and its server has ended
        if remaining[:1] != queue[:1]:
            self._answers.remove(name)
        if not remaining:
            del self._queues[name]
            return
        self._queues[name] = remaining
        if remaining[:1] != queue[:1]:
            self._serve(remaining[0])

    def _close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self._port_turn.end()


def _answer_of(placement: Placement) -> tuple[str, str]:
    return placement.data["server_name"], placement.data["key_authorization"]
