"""`certctl renew`: run by cron or a timer. Off a terminal it prints nothing if nothing is due."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples, json_lines_option, settings
from certctl.cli.selection import selection_options


@click.command(
    "renew",
    cls=Command,
    epilog=examples(
        "certctl renew",
        "certctl renew --random-delay 20m",
        "certctl renew example.com --force",
        "certctl renew --ignore-windows",
        "certctl renew --failing",
        "certctl renew --dry-run",
        "certctl renew --every 1h",
    ),
)
@click.argument("names", nargs=-1, metavar="[NAME...]", type=CertificateName())
@click.option("--force", is_flag=True, help="Renew even if not due, or waiting after a failure.")
@click.option(
    "--ignore-windows",
    is_flag=True,
    help="Order and deploy now what is due or waits, even outside its windows.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Test against the CA's staging directory, or without one up to validation. Save nothing.",
)
@click.option(
    "--every",
    metavar="DURATION",
    help="Stay in the foreground and renew this often, such as 1h, as in a container.",
)
@json_lines_option
@selection_options()
@settings("account.agree_tos", "jobs", "random_delay", "lock_timeout", "order_timeout")
@implemented_by("certctl.cli.actions.renew:run")
def command() -> None:
    """Renew certificates that are due, and retry pending deployments.

    Considers all certificates, or those chosen. Each is renewed with its saved options; renew asks
    no questions. Off a terminal, a run for all prints each failure once, and then once a day.
    """
