"""`certctl export`: export a certificate in another format, to a file or standard output."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples
from certctl.model.spec import FAMILIES, CopyFormat, Pkcs12Encryption


@click.command(
    "export",
    cls=Command,
    epilog=examples(
        "certctl export example.com > example.pem",
        "certctl export example.com --format combined --out example.pem",
        "certctl export example.com --format pkcs12 --password-file pw --out e.p12",
    ),
)
@click.argument("name", metavar="NAME", type=CertificateName())
@click.option(
    "--format",
    "form",
    type=click.Choice([each.value for each in CopyFormat], case_sensitive=False),
    default=CopyFormat.FULLCHAIN.value,
    show_default=True,
    help="Output format.",
)
@click.option("--out", metavar="FILE", help="Write to this file; - is standard output.")
@click.option(
    "--version",
    "number",
    type=click.IntRange(min=1),
    metavar="N",
    help="Version to export, by default the live one.",
)
@click.option("--password-file", metavar="FILE", help="File with the password for PKCS#12.")
@click.option(
    "--encryption",
    type=click.Choice([each.value for each in Pkcs12Encryption], case_sensitive=False),
    help="Encryption of PKCS#12; legacy for Windows Server 2016, macOS and older appliances.",
)
@click.option(
    "--key",
    type=click.Choice(FAMILIES, case_sensitive=False),
    help="The certificate with this kind of key, if there are two; by default the first.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@implemented_by("certctl.cli.actions.export:run")
def command() -> None:
    """Export a certificate in another format.

    Without --out, PEM formats are printed.
    """
