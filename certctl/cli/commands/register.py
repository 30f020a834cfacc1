"""`certctl register`: register an account with a CA."""

from __future__ import annotations

import click

from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples, settings


@click.command(
    "register",
    cls=Command,
    epilog=examples(
        "certctl register --email ops@example.com --agree-tos",
        "certctl register --account-key private_key.json",
        "certctl register --ca zerossl --eab-kid KID --eab-hmac-key-file eab.key",
    ),
)
@click.option(
    "--account-key",
    "key_file",
    metavar="FILE",
    help="Adopt the account with this key, in PEM or as certbot's private_key.json, from another"
    " client or machine. The CA is asked for it, and nothing is registered.",
)
@click.option(
    "--account-url",
    metavar="URL",
    help="URL of the account of --account-key; the CA is then not asked.",
)
@settings(
    "ca",
    "ca_bundle",
    "account.email",
    "account.agree_tos",
    "account.eab_kid",
    "account.eab_hmac_key_file",
    "account.key_type",
    "account.id",
    "lock_timeout",
)
@implemented_by("certctl.cli.actions.register:run")
def command() -> None:
    """Register an account with a CA, or find an existing one in this home directory.

    The HMAC key for external account binding is read from a file or from CERTCTL_EAB_HMAC_KEY.
    """
