"""What `certctl account` does."""

from __future__ import annotations

from certctl.cli.invocation import Invocation
from certctl.cli.reports import require_confirmation
from certctl.cli.session import open_run
from certctl.engine.order.rate_limits import usage_of
from certctl.engine.run import Run
from certctl.model.ca import Account, AccountKeyType
from certctl.model.errors import UsageError
from certctl.operations import accounts
from certctl.operations.accounts import account_named
from certctl.output.accounts import (
    account_lines,
    account_object,
    next_step_lines,
    usage_lines,
    usage_objects,
)
from certctl.output.console import Message
from certctl.output.document import Result
from certctl.output.times import Times


def show(invocation: Invocation, refresh: bool) -> Result:
    """Show the accounts in this home directory."""
    with open_run(invocation, untrusted="warn") as run:
        chosen = (
            [_account(run, invocation)]
            if {"ca", "account.id"} & set(invocation.flags)
            else list(run.services.records.accounts())
        )
        held = [accounts.refresh(run, each) if refresh else each for each in chosen]
        used = [usage_of(each, run) for each in held]
    times = Times(local=invocation.output.terminal)
    with_usage = list(zip(held, used, strict=True))
    lines = [
        line
        for number, (account, usages) in enumerate(with_usage)
        for line in (
            *([""] if number else []),
            *account_lines(account),
            *usage_lines(usages, times),
            *next_step_lines(account),
        )
    ]
    if not held:
        lines = [Message("There are no accounts yet. Register one with: certctl register")]
    objects = [
        {**account_object(each), "limits": usage_objects(usages)} for each, usages in with_usage
    ]
    return Result({"accounts": objects}, lines)


def update(invocation: Invocation) -> Result:
    """Change contact addresses, or agree to new terms of service."""
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


def rollover(invocation: Invocation) -> Result:
    """Replace the key of an account."""
    with open_run(invocation) as run:
        kind = invocation.flags.get("account.key_type")
        account = accounts.rollover(
            run, _account(run, invocation), AccountKeyType(str(kind)) if kind else None
        )
    return _result("The account has a new key.", account)


def deactivate(invocation: Invocation) -> Result:
    """Deactivate the account at the CA, permanently."""
    with open_run(invocation) as run:
        account = _account(run, invocation)
        others = accounts.other_clients(account, run)
        shared = (
            f" {' and '.join(others)} could not renew with it any more either." if others else ""
        )
        question = f"Permanently deactivate {account.url}?{shared}"
        require_confirmation(invocation, question, None)
        gone = accounts.deactivate(run, account)
    if gone.status == accounts.UNKNOWN:
        return _result("The CA no longer knows the account; it is not used any more.", gone)
    return _result("The account was deactivated.", gone)


def forget(invocation: Invocation) -> Result:
    """Delete an account and its key from this home directory."""
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
    wanted = invocation.flags.get("account.id")
    ca = run.services.settings.one_word("ca") if "ca" in invocation.flags else None
    return account_named(run, ca, str(wanted) if wanted else None, dead=dead)


def _result(line: str, account: Account) -> Result:
    return Result({"account": account_object(account)}, [line, *account_lines(account)])
