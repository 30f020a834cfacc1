"""What `certctl delete` does."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.cli.chosen import (
    choose,
    counted,
    nothing_chosen,
    require_consent,
    require_selection,
)
from certctl.cli.invocation import Invocation
from certctl.cli.session import open_run
from certctl.engine.run import Run
from certctl.inspection.overview import details
from certctl.model.errors import CertctlError, Interrupted, worst
from certctl.operations.versions import delete, require_deletable
from certctl.output.certificates import files_lines
from certctl.output.document import Json, Result


def run(invocation: Invocation, names: Sequence[str], force: bool) -> Result:
    """Delete certificates and their files, without revoking them."""
    require_selection(invocation, names, "Name one: certctl delete NAME")
    with open_run(invocation) as run:
        chosen = choose(invocation, names, run, remains=True)
        if not chosen.names:
            return nothing_chosen(invocation)
        for name in chosen.names:
            require_deletable(run, name, force=force)
        require_consent(invocation, chosen, _question(chosen.names, run))
        deleted, errors = _deleted(chosen.names, run, force=force)
    lines = [f"Deleted {each}." for each in deleted]
    if len(names) == 1 and chosen.one:
        if errors:
            raise errors[0]
        return Result({"deleted": deleted[0]}, lines)
    data: dict[str, Json] = {
        "certificates": [{"name": each, "deleted": each in deleted} for each in chosen.names]
    }
    statuses = [each.exit_status for each in errors]
    return Result(data, lines, errors, worst(statuses))


def _question(names: Sequence[str], run: Run) -> str:
    if len(names) > 1:
        return f"They will not be renewed, and their files are deleted.\nDelete {counted(names)}?"
    name, files = names[0], list[str]()
    if name in run.services.records.names():
        found = details(run, name)
        files = files_lines(found.files) if found.files else []
    warning = "\n".join([f"{name} will not be renewed, and these files are deleted:", *files])
    return f"{warning}\nDelete {name}?"


def _deleted(
    names: Sequence[str], run: Run, *, force: bool
) -> tuple[list[str], list[CertctlError]]:
    """Delete certificates; return those that are gone, and why others are not."""
    deleted, errors = list[str](), list[CertctlError]()
    for name in names:
        run.check()
        try:
            delete(run, name, force=force)
        except Interrupted:
            raise
        except CertctlError as error:
            error.name = error.name or name
            errors.append(error)
        else:
            deleted.append(name)
    return deleted, errors
