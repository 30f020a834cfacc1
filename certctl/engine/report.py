"""The result of a command that works on certificates: outcomes, and the exit status."""

from __future__ import annotations

from certctl.model.errors import CertctlError, ExitStatus, worst
from certctl.model.lazy_dataclass import dataclass
from certctl.model.run import Outcome


@dataclass(frozen=True)
class Report:
    """The outcomes of a run over `considered` certificates, and errors of the run itself.
    `printed_before` are those of its errors that scheduled runs have printed within the last day.
    """

    outcomes: tuple[Outcome, ...] = ()
    errors: tuple[CertctlError, ...] = ()
    considered: int = 0
    interrupted: bool = False
    dry_run: bool = False
    printed_before: tuple[CertctlError, ...] = ()

    @property
    def all_errors(self) -> tuple[CertctlError, ...]:
        """All errors: those of each certificate, then those of the run itself."""
        own = [error_of(outcome) for outcome in self.outcomes]
        return (*(error for error in own if error is not None), *self.errors)

    @property
    def exit_status(self) -> ExitStatus:
        """The status that takes precedence; partial if only some certificates failed."""
        statuses = [error.exit_status for error in self.all_errors]
        failed = sum(outcome.error is not None for outcome in self.outcomes)
        if 0 < failed < max(self.considered, len(self.outcomes)):
            statuses.append(ExitStatus.PARTIAL)
        if self.interrupted:
            statuses.append(ExitStatus.INTERRUPTED)
        return worst(statuses)


def error_of(outcome: Outcome) -> CertctlError | None:
    """Return what went wrong with a certificate, None if nothing did."""
    deploy = outcome.deploy.error if outcome.deploy else None
    for error in (outcome.error, outcome.incomplete, deploy):
        if isinstance(error, CertctlError):
            if error.name is None:
                error.name = outcome.name
            return error
    return None
