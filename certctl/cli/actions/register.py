"""What `certctl register` does."""

from __future__ import annotations

from certctl.ca.directories import directory_url, label
from certctl.cli.invocation import Invocation
from certctl.cli.reports import read_file
from certctl.cli.session import open_run
from certctl.engine.run import Run
from certctl.model.errors import UsageError
from certctl.operations.accounts import register
from certctl.operations.adopted_accounts import account_key, adopt_account
from certctl.output.accounts import account_lines, account_object
from certctl.output.document import Json, Result


def run(invocation: Invocation, key_file: str | None, account_url: str | None) -> Result:
    """Register an account with a CA, or find an existing one in this home directory."""
    with open_run(invocation) as run:
        values = run.services.settings
        if key_file is not None:
            directory = directory_url(values.one_word("ca"))
            return _adopted(invocation, run, directory, key_file, account_url)
        if account_url is not None:
            raise UsageError("--account-url requires --account-key")
        directories = dict.fromkeys(map(directory_url, values.words("ca")))
        done = [register(run, each, values.text("ca_bundle")) for each in directories]
    lines: list[object] = []
    for each in done:
        first = "Registered an account with" if each.created else "There is already an account with"
        lines += [f"{first} {label(each.account.directory_url)}.", *account_lines(each.account)]
    objects: list[dict[str, Json]] = [
        {"created": each.created, "account": account_object(each.account)} for each in done
    ]
    return Result(objects[0] if len(objects) == 1 else {"accounts": objects}, lines)


def _adopted(
    invocation: Invocation, run: Run, directory: str, key_file: str, account_url: str | None
) -> Result:
    key = account_key(read_file(invocation.environment.directory / key_file))
    bundle = run.services.settings.text("ca_bundle")
    account = adopt_account(run, directory, bundle, key, account_url)
    return Result(
        {"created": False, "account": account_object(account)},
        [f"Adopted the account with {label(directory)}.", *account_lines(account)],
    )
