"""`certctl register`: an account at a CA."""

from __future__ import annotations

import click

from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, examples, settings
from certctl.cli.session import open_run
from certctl.output.accounts import account_lines, account_object
from certctl.output.document import Result


@click.command(
    "register",
    cls=Command,
    epilog=examples(
        "certctl register --email ops@example.com --agree-tos",
        "certctl register --ca zerossl --eab-kid KID --eab-hmac-key-file /etc/certctl/eab.key",
    ),
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
@click.pass_obj
def command(invocation: Invocation) -> Result:
    """Make an account at a CA, or find the one that this home directory holds.

    The HMAC key of an external account binding comes from a file or from CERTCTL_EAB_HMAC_KEY.
    """
    from certctl.ca.directories import directory_url, label  # noqa: PLC0415 - not for --help
    from certctl.operations.accounts import register  # noqa: PLC0415 - not for --help

    with open_run(invocation) as run:
        values = run.services.settings
        directory = directory_url(values.required_text("ca"))
        done = register(run, directory, values.text("ca_bundle"))
    first = "Registered at" if done.created else "There is an account already at"
    return Result(
        {"created": done.created, "account": account_object(done.account)},
        [f"{first} {label(directory)}.", *account_lines(done.account)],
    )
