"""`certctl plan`: what `apply` or the next `renew` would do."""

from __future__ import annotations

import click

from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples


@click.command(
    "plan",
    cls=Command,
    epilog=examples(
        "certctl plan certificates.toml",
        "certctl plan /etc/certctl-desired --prune",
        "certctl plan -",
        "certctl plan",
        "certctl plan --until 30d",
    ),
)
@click.argument("source", required=False, metavar="[FILE|DIRECTORY|-]")
@click.option("--prune", is_flag=True, help="Show what is deleted since it is not there any more.")
@click.option(
    "--prune-limit",
    type=click.IntRange(min=0),
    metavar="N",
    help="Allow so many deletions. [default: a tenth of the owner's certificates, or 3]",
)
@click.option(
    "--until",
    metavar="DURATION",
    help="Without a file: show when renew does something during this time, such as 30d.",
)
@implemented_by("certctl.cli.actions.plan:run")
def command() -> None:
    """Show what apply, or the next renew, would do.

    FILE is in TOML, or in JSON if its name ends in .json; a DIRECTORY has files *.toml; - is JSON
    on standard input. Nothing is written, and no CA is asked.

    The exit status is 0 if there is nothing to do, and 7 if there is.
    """
