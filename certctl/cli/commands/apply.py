"""`certctl apply`: make all certificates as a file says."""

from __future__ import annotations

import click

from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples, json_lines_option, settings, yes_option


@click.command(
    "apply",
    cls=Command,
    epilog=examples(
        "certctl apply certificates.toml",
        "certctl apply certificates.toml --yes --prune",
        "certctl apply - --yes",
    ),
)
@click.argument("source", metavar="FILE|DIRECTORY|-")
@click.option(
    "--prune",
    is_flag=True,
    help="Delete certificates of the owner that are not there any more, unless a server uses them.",
)
@click.option(
    "--prune-limit",
    type=click.IntRange(min=0),
    metavar="N",
    help="Allow so many deletions. [default: a tenth of the owner's certificates, or 3]",
)
@yes_option
@json_lines_option
@settings("account.email", "account.agree_tos", "jobs", "lock_timeout", "order_timeout")
@implemented_by("certctl.cli.actions.apply:run")
def command() -> None:
    """Make all certificates as a file says.

    FILE is in TOML, or in JSON if its name ends in .json; a DIRECTORY has files *.toml; - is JSON
    on standard input. The plan is shown first, and carried out with consent: nothing else is done.
    What the rate limits of a CA leave no room for now is ordered by later runs of renew.
    """
