"""`certctl delete`: delete a certificate, after showing which files it removes."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples, settings, yes_option


@click.command(
    "delete",
    cls=Command,
    epilog=examples(
        "certctl delete old.example.com --yes",
    ),
)
@click.argument("name", metavar="NAME", type=CertificateName())
@click.option("--force", is_flag=True, help="Delete it even if a web server uses the files.")
@yes_option
@settings("lock_timeout")
@implemented_by("certctl.cli.actions.delete:run")
def command() -> None:
    """Delete a certificate and its files, without revoking it.

    A server that still uses the files fails at its next reload, so a certificate that the
    configuration of a running nginx names is not deleted.
    """
