"""`certctl verify`: check which certificates are being served."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples
from certctl.cli.selection import selection_options


@click.command(
    "verify",
    cls=Command,
    epilog=examples(
        "certctl verify",
        "certctl verify example.com --wait 30",
        "certctl verify 192.0.2.1:8443 mail.example.com:587/starttls=smtp",
    ),
)
@click.argument(
    "services",
    nargs=-1,
    metavar="[NAME|HOST[:PORT][/starttls=PROTOCOL]]...",
    type=CertificateName(),
)
@click.option(
    "--wait",
    type=click.FloatRange(0, 3600),
    default=0.0,
    metavar="SECONDS",
    help="Repeat the check for up to this long, until the live version is served.",
)
@selection_options()
@implemented_by("certctl.cli.actions.verify:run")
def command() -> None:
    """Check that the right certificates are being served.

    NAME is a certificate of this home directory (all by default), checked at each service and
    address that serves it. HOST is any service; PROTOCOL is smtp, imap, pop3 or ldap.
    """
