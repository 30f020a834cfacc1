"""`certctl verify`: check which certificates are being served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from certctl.cli.completion import CertificateName
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, examples
from certctl.cli.session import open_run
from certctl.output.document import Result

if TYPE_CHECKING:
    from collections.abc import Sequence


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
@click.pass_obj
def command(invocation: Invocation, services: Sequence[str], wait: float) -> Result:
    """Check that the right certificates are being served.

    NAME is a certificate of this home directory (all by default), checked at each service and
    address that serves it. HOST is any service; PROTOCOL is smtp, imap, pop3 or ldap.
    """
    from certctl.inspection.verify import verify  # noqa: PLC0415 - not for --help
    from certctl.output.verification import verification_result  # noqa: PLC0415 - as above

    with open_run(invocation, untrusted="warn") as run:
        found = verify(run, services, timeout=wait)
        return verification_result(found, run.services.clock, terminal=invocation.output.terminal)
