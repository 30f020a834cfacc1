"""What `certctl delete` does."""

from __future__ import annotations

from certctl.cli.invocation import Invocation
from certctl.cli.reports import require_confirmation
from certctl.cli.session import open_run
from certctl.inspection.overview import details
from certctl.operations.in_use import require_unused
from certctl.operations.versions import delete, require_deletable
from certctl.output.certificates import files_lines
from certctl.output.document import Result


def run(invocation: Invocation, name: str, force: bool) -> Result:
    """Delete a certificate and its files, without revoking it."""
    with open_run(invocation) as run:
        require_deletable(run, name)
        if not force:
            require_unused(name, run)
        files: list[str] = []
        if name in run.services.records.names():
            found = details(run, name)
            files = files_lines(found.files) if found.files else []
        warning = "\n".join([f"{name} will not be renewed, and these files are deleted:", *files])
        require_confirmation(invocation, f"{warning}\nDelete {name}?", name)
        delete(run, name)
    return Result({"deleted": name}, [f"Deleted {name}."])
