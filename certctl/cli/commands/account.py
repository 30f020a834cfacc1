"""`certctl account`: show and change accounts."""

from __future__ import annotations

import click

from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, Group, examples, settings, yes_option

_SELECTION = ("ca", "account.id", "lock_timeout")


@click.group(
    "account",
    cls=Group,
    epilog=examples(
        "certctl account show --refresh",
        "certctl account update --email ops@example.com",
        "certctl account rollover --ca letsencrypt",
        "certctl account forget --account ID",
    ),
)
def command() -> None:
    """Show, update, deactivate or forget accounts, and roll over their keys."""


@command.command("show", cls=Command)
@click.option("--refresh", is_flag=True, help="Get the current state of each account from the CA.")
@settings(*_SELECTION)
@implemented_by("certctl.cli.actions.account:show")
def show() -> None:
    """Show the accounts in this home directory."""


@command.command("update", cls=Command)
@settings("account.email", "account.agree_tos", *_SELECTION)
@implemented_by("certctl.cli.actions.account:update")
def update() -> None:
    """Change contact addresses, or agree to new terms of service."""


@command.command("rollover", cls=Command)
@settings("account.key_type", *_SELECTION)
@implemented_by("certctl.cli.actions.account:rollover")
def rollover() -> None:
    """Replace the key of an account.

    The new key is registered with the CA and stored in the home directory.
    """


@command.command("deactivate", cls=Command)
@yes_option
@settings(*_SELECTION)
@implemented_by("certctl.cli.actions.account:deactivate")
def deactivate() -> None:
    """Deactivate the account at the CA, permanently.

    Its certificates stay valid, but their renewals will fail.
    """


@command.command("forget", cls=Command)
@yes_option
@settings(*_SELECTION)
@implemented_by("certctl.cli.actions.account:forget")
def forget() -> None:
    """Delete an account and its key from this home directory.

    For an account that was deactivated, or whose CA no longer knows it or no longer exists: the CA
    is not asked. To close an account that is still valid, use `deactivate`.
    """
