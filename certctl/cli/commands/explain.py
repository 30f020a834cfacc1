"""`certctl explain`: when and why a certificate is renewed."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, examples
from certctl.cli.session import open_run
from certctl.inspection.explain import explain
from certctl.output.document import Result
from certctl.output.explanation import explanation_lines, explanation_object
from certctl.output.times import Times


@click.command(
    "explain",
    cls=Command,
    epilog=examples(
        "certctl explain example.com",
    ),
)
@click.argument("name", metavar="NAME", type=CertificateName())
@click.pass_obj
def command(invocation: Invocation, name: str) -> Result:
    """Explain when and why a certificate is renewed: each rule, its time, the last attempts.

    Does not contact the CA, and changes nothing.
    """
    with open_run(invocation, untrusted="warn") as run:
        found = explain(run, name)
    times = Times(local=invocation.output.terminal)
    return Result(explanation_object(found), explanation_lines(found, times))
