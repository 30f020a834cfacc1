"""`certctl dns`: what there is to do with the DNS beside certificates."""

from __future__ import annotations

import click

from certctl.cli import dns_persist
from certctl.cli.parameters import examples


@click.group(
    "dns",
    epilog=examples(
        "certctl dns persist example.com",
        "certctl dns persist --wildcard example.com --dns rfc2136 --rfc2136-server 192.0.2.53",
    ),
)
def command() -> None:
    """Make records that prove control for good."""


command.add_command(dns_persist.command)
