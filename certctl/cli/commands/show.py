"""`certctl show`: everything about one certificate."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, examples
from certctl.cli.session import open_run
from certctl.inspection.overview import details
from certctl.output.certificates import details_lines, details_object
from certctl.output.document import Result
from certctl.output.times import Times


@click.command(
    "show",
    cls=Command,
    epilog=examples(
        "certctl show example.com",
    ),
)
@click.argument("name", metavar="NAME", type=CertificateName())
@click.pass_obj
def command(invocation: Invocation, name: str) -> Result:
    """Show everything about one certificate: names, times, files, hooks, the last error."""
    with open_run(invocation, untrusted="warn") as run:
        found = details(run, name)
    return Result(
        details_object(found), details_lines(found, Times(local=invocation.output.terminal))
    )
