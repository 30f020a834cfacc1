"""`certctl dns`: list and test DNS providers, and create persistent records."""

from __future__ import annotations

import click

from certctl.cli import dns_persist
from certctl.cli.completion import CertificateName, setting_values
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, Group, examples, settings
from certctl.dns.loading import provider_options


@click.group(
    "dns",
    cls=Group,
    epilog=examples(
        "certctl dns list --search cloud",
        "certctl dns show cloudflare",
        "certctl dns test example.com --dns-credentials work",
        "certctl dns persist example.com",
        "certctl dns caa example.com",
        "certctl dns cleanup",
    ),
)
def command() -> None:
    """List, show and test DNS providers, create persistent records, and clean up."""


@command.command(
    "list", cls=Command, epilog=examples("certctl dns list", "certctl dns list --search cloud")
)
@click.option(
    "--search", metavar="WORD", default="", help="List only providers with WORD in their name."
)
@implemented_by("certctl.cli.actions.dns:list_")
def list_() -> None:
    """List DNS providers, and what needs to be installed for them."""


@command.command("show", cls=Command, epilog=examples("certctl dns show cloudflare"))
@click.argument("provider", shell_complete=setting_values("challenge.dns_provider"))
@implemented_by("certctl.cli.actions.dns:show")
def show() -> None:
    """Show the options of a provider, with an example for certctl.toml."""


@command.command(
    "test",
    cls=Command,
    plugin_options=provider_options,
    epilog=examples(
        "certctl dns test example.com",
        "certctl dns test example.com --dns-credentials work",
        "certctl dns test example.org --dns rfc2136 --rfc2136-server 192.0.2.53",
    ),
)
@click.argument("domain")
@settings(
    "challenge.dns_provider",
    "challenge.dns_credentials",
    "challenge.dns_options",
    "challenge.dns_resolver",
    "challenge.dns_follow_cname",
    "challenge.dns_skip_propagation",
    "challenge.dns_propagation_timeout",
)
@settings("deploy.hook_timeout", "lock_timeout")
@implemented_by("certctl.cli.actions.dns:test")
def test() -> None:
    """Test a provider: write a test record, check it, and remove it.

    The record must appear at every authoritative server. Without options, the saved options of
    the certificate of DOMAIN are used, or else the settings. Each step is timed. No CA is
    contacted.
    """


@command.command(
    "caa",
    cls=Command,
    plugin_options=provider_options,
    epilog=examples(
        "certctl dns caa example.com",
        "certctl dns caa example.com --write",
        "certctl dns caa example.com --write --dns rfc2136 --rfc2136-server 192.0.2.53",
    ),
)
@click.argument("name", metavar="NAME", type=CertificateName())
@click.option("--write", is_flag=True, help="Add the records with the certificate's DNS provider.")
@click.option(
    "--force",
    is_flag=True,
    help="Write them although a certificate of another issuer is being served.",
)
@settings(
    "ca",
    "ca_bundle",
    "account.id",
    "challenge.dns_provider",
    "challenge.dns_credentials",
    "challenge.dns_options",
    "challenge.dns_resolver",
)
@settings("deploy.hook_timeout")
@implemented_by("certctl.cli.actions.dns:caa")
def caa() -> None:
    """Print CAA records that pin CA, account and method.

    With these records (RFC 8659, RFC 8657) at the names of a certificate, no other CA, and no other
    account or method at this one, gets a certificate for them. Records of others are kept, and
    permit what they do now.
    """


@command.command(
    "cleanup",
    cls=Command,
    plugin_options=provider_options,
    epilog=examples("certctl dns cleanup", "certctl dns cleanup --retry"),
)
@click.argument("names", nargs=-1)
@click.option("--retry", is_flag=True, help="Try again now to remove them.")
@click.option("--drop", is_flag=True, help="Forget them, without removing them.")
@settings("lock_timeout")
@implemented_by("certctl.cli.actions.dns:cleanup")
def cleanup() -> None:
    """Show the challenge responses that could not be removed.

    These are records, files and responses published by hooks, of all certificates or of those
    NAMES. `renew` tries again after pauses of one hour to one day, and gives up after seven days.
    """


command.add_command(dns_persist.command)
