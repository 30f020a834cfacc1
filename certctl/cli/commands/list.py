"""`certctl list`: one row per certificate."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples
from certctl.cli.selection import ORDERS, selection_options


@click.command(
    "list",
    cls=Command,
    epilog=examples(
        "certctl list",
        "certctl list '*.shop.example' --sort expires",
        "certctl list --failing",
        "certctl list --where ca=letsencrypt --expiring 30d",
        "certctl list --json",
    ),
)
@click.argument("names", nargs=-1, metavar="[NAME|GLOB]...", type=CertificateName())
@selection_options()
@click.option(
    "--sort",
    type=click.Choice(ORDERS),
    default=ORDERS[0],
    show_default=True,
    help="What to sort by.",
)
@implemented_by("certctl.cli.actions.list:run")
def command() -> None:
    """List certificates: state, remaining time, next renewal, whether they are deployed.

    NAME is the name of a certificate, or one of the names that it is for; GLOB is a pattern for
    them. A narrow terminal leaves out columns. Problems and totals are below the table.
    """
