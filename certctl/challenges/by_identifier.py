"""DNS-01 for names and HTTP-01 for addresses, in one order: a wildcard needs the one, an address
the other (RFC 8738 §7). At the development CA, which has its own zone, neither needs settings.
"""

from __future__ import annotations

from collections.abc import Sequence

from certctl.challenges.http01_standalone import NAME as STANDALONE
from certctl.model.ports import Solver
from certctl.model.validation import Placement, Task


class ByIdentifierSolver:
    """Passes each task to the solver of its challenge type. The solvers are closed by who made
    them.
    """

    def __init__(self, names: Solver, addresses: Solver) -> None:
        self._names, self._addresses = names, addresses

    @property
    def challenge_types(self) -> Sequence[str]:
        return (*self._names.challenge_types, *self._addresses.challenge_types)

    def plan(self, task: Task) -> Placement:
        addressed = task.type in self._addresses.challenge_types
        return (self._addresses if addressed else self._names).plan(task)

    def present(self, placements: Sequence[Placement]) -> None:
        for solver, each in self._divided(placements):
            solver.present(each)

    def wait(self, placements: Sequence[Placement]) -> None:
        for solver, each in self._divided(placements):
            solver.wait(each)

    def wait_for_validation(self, placements: Sequence[Placement]) -> None:
        for solver, each in self._divided(placements):
            solver.wait_for_validation(each)

    def cleanup(self, placements: Sequence[Placement]) -> None:
        for solver, each in self._divided(placements):
            solver.cleanup(each)

    def close(self) -> None:
        """Nothing is its own."""

    def _divided(
        self, placements: Sequence[Placement]
    ) -> Sequence[tuple[Solver, Sequence[Placement]]]:
        of_addresses = [each for each in placements if each.solver == STANDALONE]
        of_names = [each for each in placements if each.solver != STANDALONE]
        pairs = ((self._names, of_names), (self._addresses, of_addresses))
        return [(solver, each) for solver, each in pairs if each]
