"""`certctl list`: one row per certificate."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples


@click.command(
    "list",
    cls=Command,
    epilog=examples(
        "certctl list",
        "certctl list --json",
    ),
)
@click.argument("names", nargs=-1, metavar="[NAME...]", type=CertificateName())
@implemented_by("certctl.cli.actions.list:run")
def command() -> None:
    """List certificates: state, remaining time, next renewal, whether they are deployed."""
