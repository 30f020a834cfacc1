"""Findings of `doctor` about what killed processes left behind."""

from __future__ import annotations

from collections.abc import Iterator

from certctl.engine.run import Run
from certctl.model.run import Finding, Severity, TemporaryFile
from certctl.operations.leftovers import remove_temporary_file


def leftover_findings(run: Run, *, remove: bool) -> Iterator[Finding]:
    """Yield a finding for each temporary file that a killed process left, which is then removed if
    `remove` is set, and for each certificate that has versions, but no spec.
    """
    for found in run.services.machine.leftovers(run.services.clock.now()):
        yield remove_temporary_file(found, run) if remove else _left(found)
    for name in run.services.records.names_without_spec():
        yield _without_spec(name)


def _left(found: TemporaryFile) -> Finding:
    return Finding(
        "leftover.file",
        Severity.WARNING,
        found.path,
        "a process that was killed left this behind; it may contain a private key",
        "To remove it: certctl doctor --fix",
    )


def _without_spec(name: str) -> Finding:
    return Finding(
        "certificate.without_spec",
        Severity.WARNING,
        name,
        f"it has files in archive/{name}, but no certificates/{name}.toml, so it is not renewed:"
        " its deletion was interrupted, or that file was removed",
        f"Restore the file, or delete the rest: certctl delete {name}",
    )
