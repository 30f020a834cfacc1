"""HTTP-01 (RFC 8555 §8.3) answered by a static rule of the web server, which returns any token with
the thumbprint of the account's key (`certctl snippet SERVER NAME --stateless` prints the rule).

Nothing is placed. Before the CA is told, the answer is fetched from each address that this machine
can reach, so that a missing or stale rule costs no failed validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from certctl.challenges.http01 import check_task, placement
from certctl.challenges.reachability import NotReached, check_http_answer
from certctl.challenges.system import SolverSystem
from certctl.dns.hosts import look_up
from certctl.dns.resolver import Resolver
from certctl.model.ca import ChallengeType
from certctl.model.errors import ChallengeError
from certctl.model.identifiers import Identifier
from certctl.model.names import parse_identifier
from certctl.model.ports import Solver
from certctl.model.spec import ChallengeSpec
from certctl.model.validation import Placement, Task
from certctl.rules.options import Option

NAME = "stateless"
OPTIONS: tuple[Option, ...] = ()
"""No options of its own: the settings named `challenge.*` are in `certctl.rules.options`."""

_CODE = "challenge.http.stateless"
_PARALLEL = 8


def create(challenge: ChallengeSpec, system: SolverSystem) -> Solver:
    """Return a solver that expects the rule at the port to which the CA connects."""
    return StatelessSolver(challenge.http_port, challenge.dns_resolver, system)


class StatelessSolver:
    """Expects that the servers of a name answer by themselves at `port`."""

    def __init__(self, port: int, resolver: str | None, system: SolverSystem) -> None:
        self._port = port
        self._resolver = resolver
        self._system = system

    @property
    def challenge_types(self) -> Sequence[str]:
        return (ChallengeType.HTTP_01,)

    def check(self, identifiers: Sequence[Identifier]) -> None:
        """Raise `ChallengeError` for a wildcard, which HTTP-01 cannot validate."""
        for each in identifiers:
            if each.wildcard:
                raise ChallengeError(
                    f"{each}: http-01 cannot validate a wildcard",
                    hint="Use DNS-01 instead: --dns PROVIDER.",
                    code="challenge.http.wildcard",
                )

    def plan(self, task: Task) -> Placement:
        check_task(task)
        return placement(NAME, task)

    def present(self, placements: Sequence[Placement]) -> None:
        """Do nothing: the servers answer by themselves."""

    def wait(self, placements: Sequence[Placement]) -> None:
        """Raise `ChallengeError` if a server that can be reached from here gives another answer."""
        if not placements:
            return
        resolver = Resolver(self._resolver, self._system.stop)
        with ThreadPoolExecutor(min(_PARALLEL, len(placements))) as pool:
            found = list(pool.map(lambda each: self._problem(each, resolver), placements))
        problems = [each for each in found if each is not None]
        if problems:
            raise problems[0]

    def wait_for_validation(self, placements: Sequence[Placement]) -> None:
        """Return at once: certctl cannot observe requests to the servers."""

    def cleanup(self, placements: Sequence[Placement]) -> None:
        """Do nothing: nothing was placed."""

    def close(self) -> None:
        """Do nothing: no resources are held."""

    def _problem(self, placed: Placement, resolver: Resolver) -> ChallengeError | None:
        identifier = parse_identifier(placed.identifier)
        if identifier.type == "ip":
            addresses: tuple[str, ...] = (identifier.value,)
        else:
            addresses = look_up(identifier.base, resolver).addresses
        host = f"[{identifier.value}]" if ":" in identifier.value else identifier.value
        token, expected = placed.data["token"], placed.data["key_authorization"]
        for address in addresses:
            try:
                check_http_answer(address, host, token, expected, port=self._port)
            except NotReached as error:
                if error.connected:
                    return _wrong(identifier, address, token, error)
        return None


def _wrong(identifier: Identifier, address: str, token: str, error: NotReached) -> ChallengeError:
    if error.body.startswith(token.encode() + b"."):
        return ChallengeError(
            f"{identifier}: the rule of the server at {address} is stale: it answers with the"
            " thumbprint of another account key",
            hint="Replace it, and reload the server. To print it: certctl snippet SERVER"
            f" {identifier} --stateless",
            code=f"{_CODE}.stale",
        )
    return ChallengeError(
        f"{identifier}: the server at {address} does not answer challenges by itself: {error}",
        hint="Add the rule to its configuration, and reload it. To print it: certctl snippet SERVER"
        f" {identifier} --stateless",
        code=_CODE,
    )
