"""`certctl show`: everything about one certificate."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples


@click.command(
    "show",
    cls=Command,
    epilog=examples(
        "certctl show example.com",
    ),
)
@click.argument("name", metavar="NAME", type=CertificateName())
@implemented_by("certctl.cli.actions.show:run")
def command() -> None:
    """Show everything about one certificate: names, times, files, hooks, the last error."""
