"""What `certctl register` does."""

from __future__ import annotations

from certctl.ca.directories import directory_url, label
from certctl.cli.invocation import Invocation
from certctl.cli.session import open_run
from certctl.operations.accounts import register
from certctl.output.accounts import account_lines, account_object
from certctl.output.document import Result


def run(invocation: Invocation) -> Result:
    """Register an account with a CA, or find an existing one in this home directory."""
    with open_run(invocation) as run:
        values = run.services.settings
        directory = directory_url(values.required_text("ca"))
        done = register(run, directory, values.text("ca_bundle"))
    first = "Registered an account with" if done.created else "There is already an account with"
    return Result(
        {"created": done.created, "account": account_object(done.account)},
        [f"{first} {label(directory)}.", *account_lines(done.account)],
    )
