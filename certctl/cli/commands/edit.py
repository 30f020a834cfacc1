"""`certctl edit`: change the names or options of certificates, then reissue them."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples, settings, yes_option
from certctl.cli.selection import selection_options
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
        "certctl edit --where key_type=rsa-2048 --key-type ecdsa-p256",
    ),
)
@click.argument("names", nargs=-1, metavar="NAME...", type=CertificateName())
@click.option("--add", multiple=True, metavar="NAME", help="Add a name. Can be repeated.")
@click.option("--remove", multiple=True, metavar="NAME", help="Remove a name. Can be repeated.")
@selection_options()
@yes_option
@settings("autorenew")
@spec_options
@implemented_by("certctl.cli.actions.edit:run")
def command() -> None:
    """Change the names or options of certificates, and reissue them if necessary.

    Options such as --ca set something, and never choose certificates. If certificates were chosen
    by a pattern or a property, the plan is shown first, and carried out with consent; what the rate
    limits of a CA leave no room for now is ordered by later runs of renew.
    """
