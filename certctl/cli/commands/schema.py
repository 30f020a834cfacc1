"""`certctl schema`: the JSON Schema of the files that `plan` and `apply` read."""

from __future__ import annotations

import click

from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples


@click.command(
    "schema",
    cls=Command,
    epilog=examples("certctl schema > certctl.schema.json"),
)
@implemented_by("certctl.cli.actions.schema:run")
def command() -> None:
    """Print the JSON Schema of the files of plan and apply.

    Editors complete and check such a file with it, TOML too. It has all settings of certificates,
    those of installed plug-ins included.
    """
