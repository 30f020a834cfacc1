"""`certctl delete`: delete certificates, after showing which files that removes."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples, settings, yes_option
from certctl.cli.selection import selection_options


@click.command(
    "delete",
    cls=Command,
    epilog=examples(
        "certctl delete old.example.com --yes",
    ),
)
@click.argument("names", nargs=-1, metavar="NAME...", type=CertificateName())
@click.option("--force", is_flag=True, help="Delete it even if a web server uses the files.")
@selection_options(everything=False)
@yes_option
@settings("lock_timeout")
@implemented_by("certctl.cli.actions.delete:run")
def command() -> None:
    """Delete certificates and their files, without revoking them.

    Certificates that were not given by their own names are shown, and deleted only with consent.
    A server that still uses the files fails at its next reload, so a certificate that the
    configuration of a running nginx names is not deleted.
    """
