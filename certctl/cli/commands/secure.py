"""`certctl secure`: HTTPS for names that a running web server answers for at port 80."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, SectionedOption, examples, settings, yes_option
from certctl.webservers.server import MODULES


@click.command(
    "secure",
    cls=Command,
    epilog=examples(
        "certctl secure example.com www.example.com",
        "certctl secure example.com --dry-run",
        "certctl secure example.com --yes --agree-tos --redirect",
        "certctl secure --undo example.com",
    ),
)
@click.argument("names", nargs=-1, metavar="NAME...", type=CertificateName())
@click.option("--undo", is_flag=True, help="Remove what secure added for this certificate.")
@click.option("--dry-run", is_flag=True, help="Only show what would be changed.")
@click.option(
    "--challenges-only",
    is_flag=True,
    help="Add only the lines that answer challenges. Issue nothing.",
)
@click.option(
    "--redirect/--no-redirect",
    default=None,
    help="Redirect requests at port 80 to HTTPS. By default only where the names lead to this"
    " machine and no proxy is in front of it.",
)
@click.option(
    "--hsts/--no-hsts",
    default=None,
    help="Tell browsers to use nothing but HTTPS for a year (RFC 6797).",
)
@click.option(
    "--schedule/--no-schedule",
    default=None,
    help="Install the schedule of automatic renewals. By default you are asked.",
)
@click.option(
    "--web-server",
    type=click.Choice(list(MODULES)),
    help="Which web server to change, if several run. By default the one at port 80.",
)
@click.option(
    "--name",
    cls=SectionedOption,
    type=CertificateName(),
    metavar="NAME",
    help="Name of the certificate, by default its first domain name.",
)
@yes_option
@settings(
    "ca",
    "ca_bundle",
    "account.id",
    "account.email",
    "account.agree_tos",
    "key_type",
    "required_profile",
    "lock_timeout",
    "order_timeout",
)
@implemented_by("certctl.cli.actions.secure:run")
def command() -> None:
    """Serve these names over HTTPS from the web server that answers for them at port 80.

    Finds the server that runs here and its configuration, shows what it would change and asks. Then
    it issues a certificate, has the server use it, checks that it is served, and schedules
    renewals. If a step fails, everything is put back.
    """
