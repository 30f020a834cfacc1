"""`certctl issue`: obtain a certificate, and deploy it."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, SectionedOption, examples, json_lines_option, yes_option
from certctl.cli.specs import spec_options
from certctl.engine.plugins import plugin_options


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
@implemented_by("certctl.cli.actions.issue:run", first="certctl.cli.early:connect_for_issue")
def command() -> None:
    """Obtain a certificate for these names, and deploy it.

    NAME is a host name, a wildcard such as '*.example.com', or an IP address. The options are
    saved and used for renewals.
    """
