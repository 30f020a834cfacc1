"""`certctl doctor`: find problems that would make an issuance or a renewal fail."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples
from certctl.cli.specs import spec_options
from certctl.engine.plugins import plugin_options


@click.command(
    "doctor",
    cls=Command,
    plugin_options=plugin_options,
    epilog=examples(
        "certctl doctor",
        "certctl doctor example.com",
        "certctl doctor '*.example.org' --dns rfc2136 --rfc2136-server 192.0.2.53",
    ),
)
@click.argument("names", nargs=-1, metavar="[NAME...]", type=CertificateName())
@click.option(
    "--write/--no-write",
    default=None,
    help="Publish a test token or TXT record, check it, and remove it. By default for the names"
    " given, else only tokens in webroots.",
)
@click.option(
    "--fix",
    is_flag=True,
    help="Show and remove files that killed runs left.",
)
@spec_options
@implemented_by("certctl.cli.actions.doctor:run")
def command() -> None:
    """Find problems that would make an issuance or a renewal fail, and how to fix them.

    NAME is a certificate, or a domain name that has none yet; by default all certificates are
    checked. Give the same options as for `issue`. The CA is only asked for its directory and the
    account's status.
    """
