"""`certctl issue`: obtain a certificate, and deploy it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from certctl.cli.completion import CertificateName
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, SectionedOption, examples, json_lines_option, yes_option
from certctl.cli.session import open_run
from certctl.cli.specs import (
    given_options,
    read_file,
    report_lines,
    schedule_lines,
    spec_options,
)
from certctl.engine.plugins import plugin_options
from certctl.model.names import parse_identifiers
from certctl.output.certificates import report_result
from certctl.output.document import Result

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command(
    "issue",
    cls=Command,
    plugin_options=plugin_options,
    epilog=examples(
        "certctl issue example.com --webroot /var/www/html --deploy nginx",
        "certctl issue '*.example.com' --dns rfc2136 --rfc2136-server 192.0.2.53",
        "certctl issue example.com --ca dev",
    ),
)
@click.argument("names", nargs=-1, metavar="NAME...", type=CertificateName())
@click.option(
    "-d",
    "--domain",
    "domains",
    cls=SectionedOption,
    common=False,
    multiple=True,
    metavar="NAME",
    help="Another name for the certificate. Can be repeated.",
)
@click.option(
    "--name",
    type=CertificateName(),
    metavar="NAME",
    help="Name of the certificate, by default its first domain name.",
)
@click.option(
    "--csr",
    cls=SectionedOption,
    common=False,
    type=click.Path(exists=True, dir_okay=False),
    help="Use this certificate signing request. It is stored, and used for renewals too.",
)
@click.option("--force", is_flag=True, help="Issue even if nothing is due.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Test against the CA's staging directory, or without one up to validation. Save nothing.",
)
@yes_option
@json_lines_option
@spec_options
@click.pass_obj
def command(
    invocation: Invocation,
    names: Sequence[str],
    domains: Sequence[str],
    name: str | None,
    csr: str | None,
    force: bool,
    dry_run: bool,
) -> Result:
    """Obtain a certificate for these names, and deploy it.

    NAME is a host name, a wildcard such as '*.example.com', or an IP address. The options are
    saved and used for renewals.
    """
    from certctl.operations.issue import IssueRequest, issue  # noqa: PLC0415 - not for --help

    identifiers = parse_identifiers((*names, *domains))
    with open_run(invocation) as run:
        request = IssueRequest(
            identifiers,
            name=name,
            given=given_options(invocation),
            csr=read_file(Path(csr)) if csr else None,
            force=force,
            confirmed=invocation.yes,
            dry_run=dry_run,
        )
        report = issue(request, run)
        lines = report_lines(report, run, invocation)
        return report_result(report, [*lines, *schedule_lines(report, run, invocation)])
