"""`certctl snippet`: print what to paste into the configuration of a web server."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples
from certctl.cli.specs import spec_options
from certctl.engine.plugins import plugin_options
from certctl.rules.snippets import SERVERS


@click.command(
    "snippet",
    cls=Command,
    plugin_options=plugin_options,
    epilog=examples(
        "certctl snippet nginx example.com --webroot /var/www/html",
        "certctl snippet haproxy example.com --http-port 8402",
        "certctl snippet caddy example.com --stateless",
    ),
)
@click.argument("server", type=click.Choice(SERVERS))
@click.argument("name", metavar="NAME", type=CertificateName())
@spec_options
@implemented_by("certctl.cli.actions.snippet:run")
def command() -> None:
    """Print what to paste into a web server's configuration.

    NAME is a certificate, or a domain name that has none yet. The lines answer challenges (from
    --webroot, by forwarding them to --http-port, or with --stateless by a static rule) and serve
    the certificate. Nothing is changed; --stateless registers an account if there is none.
    """
