"""`certctl delete`: delete a certificate, after showing which files it removes."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, examples, settings, yes_option
from certctl.cli.session import open_run
from certctl.cli.specs import require_confirmation
from certctl.output.certificates import files_lines
from certctl.output.document import Result


@click.command(
    "delete",
    cls=Command,
    epilog=examples(
        "certctl delete old.example.com --yes",
    ),
)
@click.argument("name", metavar="NAME", type=CertificateName())
@yes_option
@settings("lock_timeout")
@click.pass_obj
def command(invocation: Invocation, name: str) -> Result:
    """Delete a certificate and its files, without revoking it.

    A server that still uses the files fails at its next reload.
    """
    from certctl.inspection.overview import details  # noqa: PLC0415 - not for --help
    from certctl.operations.versions import delete, require_deletable  # noqa: PLC0415 - not for --help

    with open_run(invocation) as run:
        require_deletable(run, name)
        files: list[str] = []
        if name in run.services.store.names():
            found = details(run, name)
            files = files_lines(found.files) if found.files else []
        warning = "\n".join([f"{name} will not be renewed, and these files are deleted:", *files])
        require_confirmation(invocation, f"{warning}\nDelete {name}?", name)
        delete(run, name)
    return Result({"deleted": name}, [f"Deleted {name}."])
