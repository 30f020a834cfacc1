"""`certctl dns persist`: create a persistent validation record, then issue the certificate."""

from __future__ import annotations

import click

from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples, settings, yes_option
from certctl.dns.loading import provider_options


@click.command(
    "persist",
    cls=Command,
    plugin_options=provider_options,
    epilog=examples(
        "certctl dns persist example.com",
        "certctl dns persist --wildcard example.com --dns rfc2136 --rfc2136-server 192.0.2.53",
        "certctl dns persist example.com --record-only --until 2030-01-01",
    ),
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--wildcard", is_flag=True, help="Let the record validate subdomains and wildcards too."
)
@click.option(
    "--until",
    metavar="DATE|DURATION",
    help="When the record expires, such as 2030-01-01 or 400d.",
)
@click.option(
    "--record-only", is_flag=True, help="Create the record, but do not issue a certificate."
)
@yes_option
@settings("ca", "ca_bundle", "account.id", "account.email", "account.agree_tos")
@settings(
    "challenge.dns_provider",
    "challenge.dns_credentials",
    "challenge.dns_options",
    "challenge.dns_resolver",
    "challenge.dns_follow_cname",
    "challenge.dns_propagation_timeout",
)
@settings("deploy.hook_timeout", "lock_timeout", "order_timeout")
@implemented_by("certctl.cli.actions.dns_persist:run")
def command() -> None:
    """Create persistent validation records, and issue a certificate.

    With --dns, the provider writes the records. Without it, add the printed records yourself and
    run the command again. Once every authoritative server has the records, the certificate is
    issued; renewals need no DNS changes. The records name your account: keep its key safe. This
    is dns-persist-01, an experimental draft that few CAs offer.
    """
