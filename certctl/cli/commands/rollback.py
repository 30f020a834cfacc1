"""`certctl rollback`: make an older version of certificates live again."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples, settings


@click.command(
    "rollback",
    cls=Command,
    epilog=examples(
        "certctl rollback example.com",
        "certctl rollback example.com --to 3",
    ),
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=CertificateName())
@click.option(
    "--to",
    "number",
    type=click.IntRange(min=1),
    metavar="N",
    help="Version to make live, by default the previous one.",
)
@settings("lock_timeout")
@implemented_by("certctl.cli.actions.rollback:run")
def command() -> None:
    """Make an older version of a certificate live again, and deploy it; also of several.

    Renewal pauses until a sixth of that version's lifetime is left.
    """
