"""Whether certificates that were taken over are still certctl's, for `doctor` and for
`import --status`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from certctl.engine.run import Run
from certctl.importers import handover
from certctl.model.importing import ImportRecord, ImportState
from certctl.model.run import Finding, Severity


def broken_paths(run: Run) -> dict[str, list[str]]:
    """Return the paths of imported certificates that do not lead to certctl's files any more, as
    after the other client has replaced a link.
    """
    live = Path(run.services.tree.home) / "live"
    found = {
        each.certificate: handover.not_linked(each, live / each.certificate)
        for each in run.services.machine.imports.all()
        if each.state is ImportState.DONE
    }
    return {name: paths for name, paths in found.items() if paths}


def renewed_by_both(run: Run) -> list[tuple[ImportRecord, str]]:
    """Return the imported certificates that the other client renews as well, each with the file
    that makes it do so.
    """
    return [
        (each, each.stop.path)
        for each in run.services.machine.imports.all()
        if each.state is ImportState.DONE
        and each.stop is not None
        and handover.is_renewing(each.stop)
    ]


def import_findings(run: Run) -> Iterator[Finding]:
    """Yield paths that do not lead to certctl's files any more, and certificates that the other
    client renews too.
    """
    for name, paths in broken_paths(run).items():
        yield Finding(
            "import.link",
            Severity.ERROR,
            name,
            f"{', '.join(paths)} does not lead to certctl's file any more, so that servers read"
            " something else",
            f"certctl import {name}",
        )
    names = set(run.services.records.names())
    for record in run.services.machine.imports.all():
        if record.state is ImportState.DONE and record.certificate not in names:
            yield Finding(
                "import.deleted",
                Severity.ERROR,
                record.certificate,
                f"it was imported from {record.client} and has been deleted since: nobody renews"
                " it, and the paths of its files lead nowhere",
                f"certctl import --undo {record.certificate}",
            )
    for record, path in renewed_by_both(run):
        yield Finding(
            "import.both",
            Severity.WARNING,
            record.certificate,
            f"{record.client} renews it as well: {path} is back",
            f"Give it back with `certctl import --undo {record.certificate}`, or remove {path}.",
        )
