"""`certctl show`: everything about certificates."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples
from certctl.cli.selection import selection_options


@click.command(
    "show",
    cls=Command,
    epilog=examples(
        "certctl show example.com",
        "certctl show --match '*.shop.example'",
    ),
)
@click.argument("names", nargs=-1, metavar="NAME...", type=CertificateName())
@selection_options()
@implemented_by("certctl.cli.actions.show:run")
def command() -> None:
    """Show everything about certificates: names, times, files, hooks, the last error.

    NAME is the name of a certificate, or one of the names that it is for.
    """
