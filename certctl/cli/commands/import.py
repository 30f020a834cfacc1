"""`certctl import`: take certificates over from certbot, acme.sh, lego, dehydrated or uacme."""
# ruff: noqa: N999 - the command is called like a keyword

from __future__ import annotations

import click

from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples, yes_option
from certctl.cli.specs import spec_options
from certctl.engine.plugins import plugin_options


@click.command(
    "import",
    cls=Command,
    plugin_options=plugin_options,
    epilog=examples(
        "certctl import",
        "certctl import shop.example.org --webroot /var/www/html",
        "certctl import --all",
        "certctl import --undo shop.example.org",
    ),
)
@click.argument("names", nargs=-1, metavar="[[CLIENT:]NAME...]")
@click.option(
    "--name",
    "new_name",
    metavar="NAME",
    help="What certctl calls the certificate, if not as its client does.",
)
@click.option("--all", "everything", is_flag=True, help="Take over all that are ready.")
@click.option(
    "--history",
    is_flag=True,
    help="Keep the older versions of certbot's archive too, for rollback.",
)
@click.option(
    "--undo", is_flag=True, help="Give certificates back to their client, in the newest version."
)
@click.option("--status", is_flag=True, help="Show what was imported.")
@click.option(
    "--check",
    is_flag=True,
    help="Also ask the CAs for accounts, renewal windows and revocation, and try each way of"
    " validation once.",
)
@click.option(
    "--finish",
    is_flag=True,
    help="Turn off what runs a client all of whose certificates were taken over.",
)
@click.option(
    "--leave",
    multiple=True,
    metavar="NAME",
    help="With --finish: leave this certificate with its client. Can be repeated.",
)
@click.option(
    "--from",
    "place",
    metavar="DIR",
    help="Read another client's home directory that is not at its usual place.",
)
@click.option(
    "--root", metavar="DIR", help="Look at the files of another machine, below this directory."
)
@click.option(
    "--yes-run-as-root",
    "as_root",
    is_flag=True,
    help="Agree that certctl does as root what a client's home that belongs to another user says:"
    " the commands that it runs, and where it writes.",
)
@yes_option
@spec_options
@implemented_by("certctl.cli.actions.import:run")
def command() -> None:
    """Take certificates over from certbot, acme.sh, lego, dehydrated or uacme.

    Without names, only shows what other clients have on this machine and what would become of it;
    nothing is changed, and no CA is asked.

    With names or --all: accounts, keys, certificates, hooks and settings are kept, and nothing is
    ordered. The other client stops renewing these certificates, and the paths that servers read
    lead to certctl's files. --undo takes that back at any time.
    """
