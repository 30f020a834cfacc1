"""`certctl report`: one page of HTML about all certificates."""

from __future__ import annotations

import click

from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples


@click.command(
    "report",
    cls=Command,
    epilog=examples(
        "certctl report --out report.html",
        "certctl report --out - > report.html",
    ),
)
@click.option(
    "--out",
    metavar="FILE",
    help="Write the page to this file, atomically and with mode 0644; - is standard output.",
)
@implemented_by("certctl.cli.actions.report:run")
def command() -> None:
    """Write a page about all certificates that a browser opens from disk.

    It shows certificates by days left, what renews on which day and the limits of the CA, what
    fails and why, and what is served where. The page loads nothing and contains no private key.
    """
