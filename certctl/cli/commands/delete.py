"""`certctl delete`: a certificate forgotten, after a look at what will stop working."""

from __future__ import annotations

import click

from certctl.cli.completion import certificate_names
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
@click.argument("name", metavar="NAME", shell_complete=certificate_names)
@yes_option
@settings("lock_timeout")
@click.pass_obj
def command(invocation: Invocation, name: str) -> Result:
    """Forget a certificate and remove its files; it is not revoked.

    Whatever still reads its files stops working with its next reload.
    """
    from certctl.operations.overview import details  # noqa: PLC0415 - not for --help
    from certctl.operations.versions import delete, require_deletable  # noqa: PLC0415 - not for --help

    with open_run(invocation) as run:
        require_deletable(run, name)
        files: list[str] = []
        if name in run.services.store.names():
            found = details(run, name)
            files = files_lines(found.files) if found.files else []
        warning = "\n".join([f"{name} will be renewed no more, and these files go:", *files])
        require_confirmation(invocation, f"{warning}\nDelete {name}?", name)
        delete(run, name)
    return Result({"deleted": name}, [f"Deleted {name}."])
