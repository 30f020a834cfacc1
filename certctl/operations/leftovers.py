"""What killed processes left: challenge responses that could not be removed (shows them, tries
again, or forgets them), and temporary files.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from certctl.engine.order.authorize import described, remove_leftovers
from certctl.engine.run import Run
from certctl.model.errors import CertctlError, UsageError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.run import Finding, Severity, TemporaryFile
from certctl.model.validation import CleanupState, Leftover


class CleanupAction(StrEnum):
    """What to do with the responses that are left."""

    SHOW = "show"
    RETRY = "retry"
    DROP = "drop"


@dataclass(frozen=True)
class LeftResponse:
    """A response that is left: its certificate, the name that it validated, where it is, and the
    attempts to remove it.
    """

    certificate: str
    identifier: str
    where: str
    state: CleanupState


def clean_up_leftovers(
    names: Sequence[str], action: CleanupAction, run: Run
) -> tuple[LeftResponse, ...]:
    """Return the responses of these certificates (all, if none are given) that are left: before
    they are forgotten (`DROP`), or after another attempt to remove them (`RETRY`).

    Raises `UsageError` for a certificate without any, and `LockHeld`.
    """
    records = run.services.records
    known = records.names_with_placements()
    unknown = [each for each in names if each not in known]
    if unknown:
        raise UsageError(
            f"no challenge response is left of {', '.join(unknown)}",
            hint="To show all that are left: certctl dns cleanup",
            code="usage.name",
        )
    found: list[LeftResponse] = []
    for name in names or known:
        if action is CleanupAction.SHOW:
            found += _responses(name, records.placements(name))
            continue
        run.hold(name, timeout=run.services.settings.seconds("lock_timeout"))
        try:
            if action is CleanupAction.RETRY:
                remove_leftovers(name, run, all_now=True)
            left = records.placements(name)
            if action is CleanupAction.DROP:
                for each in left:
                    records.settle(each.entry)
        finally:
            run.release(name)
        found += _responses(name, left)
    return tuple(found)


def _responses(name: str, leftovers: Sequence[Leftover]) -> list[LeftResponse]:
    return [
        LeftResponse(name, placement.identifier, described(placement), leftover.state)
        for leftover in leftovers
        for placement in leftover.placements
    ]


def remove_temporary_file(found: TemporaryFile, run: Run) -> Finding:
    """Remove what a killed process left (`doctor --fix`); return what came of it."""
    run.warn(f"removing {found.path}, which a killed process left behind", found.name or "")
    try:
        run.services.machine.remove_leftover(found)
    except CertctlError as error:
        return Finding(
            "leftover.kept",
            Severity.WARNING,
            found.path,
            f"it could not be removed: {error.message}",
            error.hint,
        )
    return Finding("leftover.removed", Severity.INFO, found.path, "this leftover was removed")
