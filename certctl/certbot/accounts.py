"""register, update_account, show_account and unregister."""

from __future__ import annotations

from certctl.ca.directories import directory_url
from certctl.certbot.front import Front
from certctl.engine.order.stateless import thumbprint_of
from certctl.engine.run import Run
from certctl.model.ca import Account
from certctl.model.errors import ConsentRequired, Declined, UsageError
from certctl.operations import accounts
from certctl.operations.accounts import account_named
from certctl.output.document import Result


def register(front: Front) -> Result:
    """Register an account, or find the one there is."""
    front.ask_for_email()
    with front.open() as run:
        settings = run.services.settings
        directory = directory_url(settings.one_word("ca"))
        done = accounts.register(run, directory, settings.text("ca_bundle"))
    return Result({}, ["Account registered." if done.created else "The account exists already."])


def update_account(front: Front) -> Result:
    """Change the email addresses of the account."""
    wanted = front.invocation.flags.get("account.email")
    nobody = front.given.has("register_unsafely_without_email")
    if wanted is None and not nobody:
        answer = front.question("New email address:")
        wanted = tuple(each for each in (answer or "").replace(",", " ").split())
    if not wanted and not nobody:
        raise UsageError("update_account needs --email", code="usage.certbot")
    with front.open() as run:
        emails = wanted if isinstance(wanted, tuple) else ()
        accounts.update_contact(run, _account(front, run), emails)
    if not emails:
        return Result(
            {}, ["Any contact information associated with this account has been removed."]
        )
    return Result({}, [f"Your e-mail address was updated to {', '.join(map(str, emails))}."])


def show_account(front: Front) -> Result:
    """Show the account."""
    with front.open(reads_only=True) as run:
        found = accounts.refresh(run, _account(front, run))
        thumbprint = thumbprint_of(found, run)
    emails = [each.removeprefix("mailto:") for each in found.contact]
    return Result(
        {},
        [
            f"Account details for server {found.directory_url}:",
            f"  Account URL: {found.url}",
            f"  Account Thumbprint: {thumbprint}",
            f"  Email contact{'s' if len(emails) > 1 else ''}: {', '.join(emails) or 'none'}",
        ],
    )


def unregister(front: Front) -> Result:
    """Deactivate the account, permanently."""
    with front.open() as run:
        account = _account(front, run)
        if front.interactive:
            answer = front.invocation.ask(f"Permanently deactivate {account.url}?")
            if not answer:
                raise (ConsentRequired if answer is None else Declined)("nothing was changed")
        accounts.deactivate(run, account)
    return Result({}, ["Account deactivated."])


def _account(front: Front, run: Run) -> Account:
    ca = str(front.invocation.flags["ca"]) if "ca" in front.invocation.flags else None
    return account_named(run, ca, front.given.text("account"))
