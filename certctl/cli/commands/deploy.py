"""`certctl deploy`: deploy the live version of certificates again."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples, settings
from certctl.cli.selection import selection_options


@click.command(
    "deploy",
    cls=Command,
    epilog=examples(
        "certctl deploy example.com",
        "certctl deploy --pending",
        "certctl deploy --where ca=letsencrypt",
    ),
)
@click.argument("names", nargs=-1, metavar="[NAME...]", type=CertificateName())
@click.option("--pending", is_flag=True, help="Deploy the certificates that are not deployed yet.")
@selection_options()
@settings("lock_timeout")
@implemented_by("certctl.cli.actions.deploy:run")
def command() -> None:
    """Deploy the live version of certificates again: copies, tests, hooks, reloads, live check."""
