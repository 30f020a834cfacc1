"""`certctl doctor`: find problems that would make an issuance or a renewal fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from certctl.cli.completion import CertificateName
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, examples
from certctl.cli.session import open_run
from certctl.cli.specs import given_options, spec_options
from certctl.engine.plugins import plugin_options
from certctl.output.document import Result

if TYPE_CHECKING:
    from collections.abc import Sequence


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
    help="Test the challenge: publish a test token or TXT record, check it, and remove it. The"
    " default is --write if names are given.",
)
@click.option(
    "--fix",
    is_flag=True,
    help="Show and remove files that killed runs left.",
)
@spec_options
@click.pass_obj
def command(
    invocation: Invocation, names: Sequence[str], write: bool | None, *, fix: bool
) -> Result:
    """Find problems that would make an issuance or a renewal fail, and how to fix them.

    NAME is a certificate, or a domain name that has none yet; by default all certificates are
    checked. Give the same options as for `issue`. The CA is only asked for its directory and the
    account's status.
    """
    from certctl.inspection.doctor import DoctorRequest, diagnose  # noqa: PLC0415 - not for --help
    from certctl.inspection.scheduled import MachineContext  # noqa: PLC0415 - as above
    from certctl.output.findings import diagnosis_result  # noqa: PLC0415 - as above

    with open_run(invocation, untrusted="ignore") as run:
        request = DoctorRequest(
            names=tuple(dict.fromkeys(names)),
            given=given_options(invocation),
            write=write,
            fix=fix,
            context=MachineContext(invocation.environment.variables),
        )
        diagnosis = diagnose(request, run)
    return diagnosis_result(diagnosis)
