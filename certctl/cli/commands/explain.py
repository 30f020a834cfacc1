"""`certctl explain`: when and why a certificate is renewed."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples


@click.command(
    "explain",
    cls=Command,
    epilog=examples(
        "certctl explain example.com",
    ),
)
@click.argument("name", metavar="NAME", type=CertificateName())
@implemented_by("certctl.cli.actions.explain:run")
def command() -> None:
    """Explain when and why a certificate is renewed: each rule, its time, the last attempts.

    Does not contact the CA, and changes nothing.
    """
