"""`certctl edit`: change the names or options of a certificate, then reissue it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from certctl.cli.completion import CertificateName
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, examples, settings
from certctl.cli.session import open_run
from certctl.cli.specs import given_options, report_lines, spec_options
from certctl.engine.plugins import plugin_options
from certctl.model.names import parse_identifiers
from certctl.output.certificates import report_result
from certctl.output.document import Result

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command(
    "edit",
    cls=Command,
    plugin_options=plugin_options,
    epilog=examples(
        "certctl edit example.com --add shop.example.com --remove old.example.com",
        "certctl edit example.com --key-type ecdsa-p384",
        "certctl edit example.com --deploy haproxy --on-failure rollback",
        "certctl edit example.com --no-autorenew",
    ),
)
@click.argument("name", metavar="NAME", type=CertificateName())
@click.option("--add", multiple=True, metavar="NAME", help="Add a name. Can be repeated.")
@click.option("--remove", multiple=True, metavar="NAME", help="Remove a name. Can be repeated.")
@settings("autorenew")
@spec_options
@click.pass_obj
def command(invocation: Invocation, name: str, add: Sequence[str], remove: Sequence[str]) -> Result:
    """Change the names or options of a certificate, and reissue it if necessary."""
    from certctl.operations.issue import edit, issue  # noqa: PLC0415 - not for --help

    with open_run(invocation) as run:
        request = edit(
            run,
            name,
            parse_identifiers(add),
            parse_identifiers(remove),
            given_options(invocation),
        )
        report = issue(request, run)
        return report_result(report, report_lines(report, run, invocation))
