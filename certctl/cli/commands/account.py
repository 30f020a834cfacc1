"""`certctl account`: show and change accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, Group, examples, settings, yes_option
from certctl.cli.session import open_run
from certctl.cli.specs import require_confirmation
from certctl.model.ca import AccountKeyType
from certctl.model.errors import UsageError
from certctl.output.accounts import (
    account_lines,
    account_object,
    next_step_lines,
    usage_lines,
    usage_objects,
)
from certctl.output.document import Result
from certctl.output.times import Times

if TYPE_CHECKING:
    from certctl.engine.run import Run
    from certctl.model.ca import Account

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
@click.pass_obj
def show(invocation: Invocation, refresh: bool) -> Result:
    """Show the accounts in this home directory."""
    from certctl.engine.order.rate_limits import usage_of  # noqa: PLC0415 - not for --help
    from certctl.operations import accounts  # noqa: PLC0415 - not for --help

    with open_run(invocation, untrusted="warn") as run:
        chosen = (
            [_account(run, invocation)]
            if {"ca", "account.id"} & set(invocation.flags)
            else list(run.services.store.accounts.all())
        )
        held = [accounts.refresh(run, each) if refresh else each for each in chosen]
        used = [usage_of(each, run) for each in held]
    times = Times(local=invocation.output.terminal)
    with_usage = list(zip(held, used, strict=True))
    lines = [
        line
        for account, usages in with_usage
        for line in (
            *account_lines(account),
            *usage_lines(usages, times),
            *next_step_lines(account),
        )
    ]
    if not held:
        lines = ["There are no accounts yet. Register one with: certctl register"]
    objects = [
        {**account_object(each), "limits": usage_objects(usages)} for each, usages in with_usage
    ]
    return Result({"accounts": objects}, lines)


@command.command("update", cls=Command)
@settings("account.email", "account.agree_tos", *_SELECTION)
@click.pass_obj
def update(invocation: Invocation) -> Result:
    """Change contact addresses, or agree to new terms of service."""
    from certctl.operations import accounts  # noqa: PLC0415 - not for --help

    with open_run(invocation) as run:
        account = _account(run, invocation)
        emails = invocation.flags.get("account.email")
        agree = bool(invocation.flags.get("account.agree_tos"))
        if not (emails or agree):
            raise UsageError("nothing to change", hint="Use --email ADDRESS or --agree-tos.")
        if agree:
            account = accounts.agree_to_terms(run, account)
        if isinstance(emails, tuple):
            account = accounts.update_contact(run, account, emails)
    return _result("The account was updated.", account)


@command.command("rollover", cls=Command)
@settings("account.key_type", *_SELECTION)
@click.pass_obj
def rollover(invocation: Invocation) -> Result:
    """Replace the key of an account.

    The new key is registered with the CA and stored in the home directory.
    """
    from certctl.operations import accounts  # noqa: PLC0415 - not for --help

    with open_run(invocation) as run:
        kind = invocation.flags.get("account.key_type")
        account = accounts.rollover(
            run, _account(run, invocation), AccountKeyType(str(kind)) if kind else None
        )
    return _result("The account has a new key.", account)


@command.command("deactivate", cls=Command)
@yes_option
@settings(*_SELECTION)
@click.pass_obj
def deactivate(invocation: Invocation) -> Result:
    """Deactivate the account at the CA, permanently.

    Its certificates stay valid, but their renewals will fail.
    """
    from certctl.operations import accounts  # noqa: PLC0415 - not for --help

    with open_run(invocation) as run:
        account = _account(run, invocation)
        require_confirmation(invocation, f"Permanently deactivate {account.url}?", None)
        gone = accounts.deactivate(run, account)
    if gone.status == accounts.UNKNOWN:
        return _result("The CA no longer knows the account; it is not used any more.", gone)
    return _result("The account was deactivated.", gone)


@command.command("forget", cls=Command)
@yes_option
@settings(*_SELECTION)
@click.pass_obj
def forget(invocation: Invocation) -> Result:
    """Delete an account and its key from this home directory.

    For an account that was deactivated, or whose CA no longer knows it or no longer exists: the CA
    is not asked. To close an account that is still valid, use `deactivate`.
    """
    from certctl.operations import accounts  # noqa: PLC0415 - not for --help

    with open_run(invocation) as run:
        account = _account(run, invocation, dead=True)
        reason = accounts.forgettable(run, account)
        if reason is not None:
            raise UsageError(
                f"the account {account.id} is not forgotten, because {reason}",
                hint="Let them use another account: certctl edit NAME --account ID",
                code="usage.account_in_use",
            )
        still = " The CA may still accept it." if account.status == "valid" else ""
        require_confirmation(
            invocation,
            f"Delete the account {account.url} ({account.status}) and its key?{still}",
            None,
        )
        accounts.forget(run, account)
    return Result({"account": account_object(account)}, [f"Forgot the account {account.url}."])


def _account(run: Run, invocation: Invocation, *, dead: bool = False) -> Account:
    from certctl.operations.accounts import account_named  # noqa: PLC0415 - not for --help

    ca, wanted = invocation.flags.get("ca"), invocation.flags.get("account.id")
    return account_named(run, str(ca) if ca else None, str(wanted) if wanted else None, dead=dead)


def _result(line: str, account: Account) -> Result:
    return Result({"account": account_object(account)}, [line, *account_lines(account)])
