"""`certctl revoke`: revoke certificates of this home directory, or a certificate file."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples, settings, yes_option
from certctl.cli.selection import selection_options
from certctl.model.ca import RevocationReason


@click.command(
    "revoke",
    cls=Command,
    epilog=examples(
        "certctl revoke example.com --replace --reason keyCompromise",
        "certctl revoke --match '*.old.example' --delete",
        "certctl revoke --cert-path cert.pem --key-path key.pem",
    ),
)
@click.argument("names", nargs=-1, metavar="[NAME...]", type=CertificateName())
@click.option(
    "--cert-path",
    type=click.Path(exists=True, dir_okay=False),
    help="Revoke the certificate in this PEM file.",
)
@click.option(
    "--key-path",
    type=click.Path(exists=True, dir_okay=False),
    help="Authorize the revocation with the certificate's private key, not with an account.",
)
@click.option(
    "--reason",
    type=click.Choice([each.value for each in RevocationReason], case_sensitive=False),
    default=RevocationReason.UNSPECIFIED.value,
    show_default=True,
    help="Revocation reason. Not every CA accepts every reason.",
)
@click.option(
    "--replace",
    "afterwards",
    flag_value="replace",
    help="First issue and deploy a new certificate.",
)
@click.option(
    "--delete", "afterwards", flag_value="delete", help="Delete the certificate and its files."
)
@click.option(
    "--stop", "afterwards", flag_value="stop", help="Keep the files, but turn off renewal."
)
@selection_options(everything=False)
@yes_option
@settings("ca", "ca_bundle", "account.id", "lock_timeout", "order_timeout")
@implemented_by("certctl.cli.actions.revoke:run")
def command() -> None:
    """Revoke certificates: those of this home directory by NAME, or any other by its file.

    With NAME, also give one of --replace, --delete and --stop, so that renew does not reissue a
    certificate unintentionally. Certificates that were not given by their own names are shown, and
    revoked only with consent.
    """
