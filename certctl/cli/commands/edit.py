"""`certctl edit`: change the names or options of a certificate, then reissue it."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples, settings
from certctl.cli.specs import spec_options
from certctl.engine.plugins import plugin_options


@click.command(
    "edit",
    cls=Command,
    plugin_options=plugin_options,
    epilog=examples(
        "certctl edit example.com --add shop.example.com --remove old.example.com",
        "certctl edit example.com --key-type ecdsa-p384",
        "certctl edit example.com --deploy haproxy --on-failure rollback",
        "certctl edit example.com --no-autorenew",
    ),
)
@click.argument("name", metavar="NAME", type=CertificateName())
@click.option("--add", multiple=True, metavar="NAME", help="Add a name. Can be repeated.")
@click.option("--remove", multiple=True, metavar="NAME", help="Remove a name. Can be repeated.")
@settings("autorenew")
@spec_options
@implemented_by("certctl.cli.actions.edit:run")
def command() -> None:
    """Change the names or options of a certificate, and reissue it if necessary."""
