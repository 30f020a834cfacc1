"""`certctl demo`: shows the life cycle of two certificates on this machine."""

from __future__ import annotations

import click

from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples


@click.command(
    "demo",
    cls=Command,
    epilog=examples(
        "certctl demo",
        "certctl demo --keep /tmp/demo",
    ),
)
@click.option(
    "--keep", metavar="DIR", help="Keep the demo's home directory, as this new directory."
)
@implemented_by("certctl.cli.actions.demo:run")
def command() -> None:
    """Watch certctl issue, deploy, renew and revoke certificates on this machine.

    A CA, a proxy, an application and its visitors run here for a few seconds, in a temporary
    directory. The demo needs no network access and no root privileges, and changes nothing else.
    """
