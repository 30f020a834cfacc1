"""`certctl register`: register an account with a CA."""

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
        "certctl register --ca zerossl --eab-kid KID --eab-hmac-key-file eab.key",
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
    """Register an account with a CA, or find an existing one in this home directory.

    The HMAC key for external account binding is read from a file or from CERTCTL_EAB_HMAC_KEY.
    """
    from certctl.ca.directories import directory_url, label  # noqa: PLC0415 - not for --help
    from certctl.operations.accounts import register  # noqa: PLC0415 - not for --help

    with open_run(invocation) as run:
        values = run.services.settings
        directory = directory_url(values.required_text("ca"))
        done = register(run, directory, values.text("ca_bundle"))
    first = "Registered an account with" if done.created else "There is already an account with"
    return Result(
        {"created": done.created, "account": account_object(done.account)},
        [f"{first} {label(directory)}.", *account_lines(done.account)],
    )
