"""TLS-ALPN-01 (RFC 8737) by a small server of certctl's own, open only while an answer is needed.

All orders of a run that use this solver share one listener. A CA asks by the name alone, so that of
two orders with answers of their own for one name the second waits until the first is done.
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
from certctl.errors import ChallengeError, Interrupted
from certctl.models import ChallengeSpec, ChallengeType, Placement, Task
from certctl.names import parse_identifier
from certctl.options import Option
from certctl.ports import Solver

NAME = "tls-alpn"
OPTIONS: tuple[Option, ...] = ()
"""None of its own: the settings named `challenge.*` stand in `certctl.options`."""

_LOOK_AT_TURN_EVERY = 0.05


def create(challenge: ChallengeSpec, system: SolverSystem) -> Solver:
    """Return a solver that listens at the address and the port that the spec names."""
    return TlsAlpnSolver(challenge.tls_alpn_address, challenge.tls_alpn_port, system)


class TlsAlpnSolver:
    """Answers TLS-ALPN-01 challenges at `address` (None for every address) and `port`."""

    def __init__(self, address: str | None, port: int, system: SolverSystem) -> None:
        self._address = address
        self._port = port
        self._system = system
        self._mutex = threading.Lock()
        self._port_turn = PortTurn(port, self._mutex, system)
        self._answers = Answers[ssl.SSLContext]()
        self._holders = Holders()
        # The key authorizations that each name is to be answered with, one after the other.
        self._turns: dict[str, list[Placement]] = {}
        self._server: ChallengeServer | None = None

    @property
    def challenge_types(self) -> Sequence[str]:
        return (ChallengeType.TLS_ALPN_01,)

    def plan(self, task: Task) -> Placement:
        from certctl.validation_certificate import (  # noqa: PLC0415 - cryptography is slow to import
            server_name,
        )

        if task.type != ChallengeType.TLS_ALPN_01:
            raise ChallengeError(
                f"{task.identifier}: the challenge is {task.type}, not tls-alpn-01",
                code="challenge.tls_alpn",
            )
        if task.identifier.wildcard:
            raise ChallengeError(
                f"{task.identifier}: tls-alpn-01 cannot prove control of a wildcard",
                hint="Prove it through the DNS: --dns PROVIDER.",
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
        """Answer for the names from now on, or as soon as it is their turn.

        All of them take their places at once, so that no two orders wait for each other. Raises
        `ChallengeError` where the port cannot be had, whose message names who has it, and
        `LockHeld` where it is another certctl that goes on having it.
        """
        if not placements:
            return
        with self._mutex:
            self._port_turn.join()
            if self._server is None:
                self._server = self._open()
            for each in placements:
                key = _answer_of(each)
                turns = self._turns.setdefault(each.data["server_name"], [])
                self._holders.hold(key, each.certificate)
                if key not in map(_answer_of, turns):
                    turns.append(each)
                if len(turns) == 1:
                    self._show(each)

    def wait(self, placements: Sequence[Placement]) -> None:
        """Return once it is the turn of each. Raises `Interrupted`."""
        while not self._all_shown(placements):
            if self._system.clock.wait(self._system.stop, _LOOK_AT_TURN_EVERY):
                raise Interrupted("stopped while another certificate proved control of a name")

    def wait_for_validation(self, placements: Sequence[Placement]) -> None:
        """Return once each name was asked for, or nobody came for a while."""
        self._answers.wait_for_validation(
            (each.data["server_name"] for each in placements), self._system
        )

    def cleanup(self, placements: Sequence[Placement]) -> None:
        with self._mutex:
            for each in placements:
                if self._holders.release(_answer_of(each), each.certificate):
                    self._end_turn(each)
            if not self._turns:
                self._close()

    def close(self) -> None:
        with self._mutex:
            self._close()

    def _open(self) -> ChallengeServer:
        from certctl.challenges.tls_alpn01_server import (  # noqa: PLC0415 - only where one listens
            TlsConnection,
            sni_context,
        )

        self._port_turn.take()
        try:
            listeners = open_when_free(self._address, self._port, TLS_ALPN_01, self._system)
        except BaseException:
            self._port_turn.give()
            raise
        connection = partial(TlsConnection, self._answers, sni_context(self._answers))
        return ChallengeServer(listeners, connection, "tls-alpn-01")

    def _show(self, placement: Placement) -> None:
        from certctl.challenges.tls_alpn01_server import tls_context  # noqa: PLC0415 - see `_open`
        from certctl.validation_certificate import (  # noqa: PLC0415 - cryptography is slow to import
            validation_certificate,
        )

        certificate = validation_certificate(
            parse_identifier(placement.identifier),
            placement.data["key_authorization"],
            self._system.clock.now(),
        )
        self._answers.add(placement.data["server_name"], tls_context(certificate))

    def _all_shown(self, placements: Sequence[Placement]) -> bool:
        with self._mutex:
            return all(
                [_answer_of(turn) for turn in self._turns.get(each.data["server_name"], ())][:1]
                == [_answer_of(each)]
                for each in placements
            )

    def _end_turn(self, placement: Placement) -> None:
        name, key = placement.data["server_name"], _answer_of(placement)
        turns = self._turns.get(name, [])
        left = [each for each in turns if _answer_of(each) != key]
        if left == turns:
            return  # another process put it there, and took it with it
        if left[:1] != turns[:1]:
            self._answers.remove(name)
        if not left:
            del self._turns[name]
            return
        self._turns[name] = left
        if left[:1] != turns[:1]:
            self._show(left[0])

    def _close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self._port_turn.give()


def _answer_of(placement: Placement) -> tuple[str, str]:
    return placement.data["server_name"], placement.data["key_authorization"]
