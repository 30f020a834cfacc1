"""`certctl explain`: when and why certificates are renewed."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples
from certctl.cli.selection import selection_options


@click.command(
    "explain",
    cls=Command,
    epilog=examples(
        "certctl explain example.com",
    ),
)
@click.argument("names", nargs=-1, metavar="NAME...", type=CertificateName())
@selection_options()
@implemented_by("certctl.cli.actions.explain:run")
def command() -> None:
    """Explain when and why certificates are renewed: each rule, its time, the last attempts.

    Does not contact the CA, and changes nothing.
    """
