"""`certctl dev-ca`: an ACME CA for development and tests."""

from __future__ import annotations

import click

from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, Group, examples


@click.group(
    "dev-ca",
    cls=Group,
    epilog=examples(
        "certctl dev-ca serve --listen 127.0.0.1:14000",
        "certctl dev-ca root > dev-root.pem",
        "certctl dev-ca install",
    ),
)
def command() -> None:
    """Run an ACME CA for development, or have this machine trust it."""


_state_option = click.option(
    "--state",
    metavar="DIR",
    help="Directory for keys and records. [default: dev-ca in the home directory]",
)


@command.command("serve", cls=Command)
@click.option(
    "--listen",
    metavar="ADDRESS:PORT",
    default="127.0.0.1:0",
    help="Listen on this address; port 0 chooses a free port, and keeps it. [default: 127.0.0.1:0]",
)
@_state_option
@click.option(
    "--http-port",
    type=click.IntRange(1, 65535),
    default=5002,
    metavar="PORT",
    help="Validate HTTP-01 on this port. [default: 5002]",
)
@click.option(
    "--tls-port",
    type=click.IntRange(1, 65535),
    default=5001,
    metavar="PORT",
    help="Validate TLS-ALPN-01 on this port. [default: 5001]",
)
@click.option(
    "--validate-at",
    metavar="ADDRESS",
    default="127.0.0.1",
    help="Validate every name at this address, or 'names' for each name's own address."
    " [default: 127.0.0.1]",
)
@click.option(
    "--dns",
    metavar="ADDRESS:PORT",
    help="Resolver for TXT records. [default: the built-in zone]",
)
@click.option(
    "--lifetime", metavar="DURATION", help="Lifetime of certificates, such as 30s, 15m, 12h or 90d."
)
@click.option("--profiles", metavar="FILE", help="TOML file with additional profiles.")
@click.option(
    "--challenge",
    metavar="TYPE",
    multiple=True,
    help="Offer only these challenge types; dns-account-01 and dns-persist-01 are available too."
    " [default: http-01, dns-01, tls-alpn-01]",
)
@click.option(
    "--dns-persist",
    type=click.Choice(["01", "02"]),
    default="02",
    help="Draft version of dns-persist-01. [default: 02]",
)
@click.option(
    "--eab",
    metavar="KID=FILE",
    multiple=True,
    help="Require external account binding; FILE has the HMAC key in base64url. Can be repeated.",
)
@click.option(
    "--fault",
    metavar="NAME=VALUE",
    multiple=True,
    help="Inject a fault, such as bad-nonce=20 (percent), processing=10s or retry-after=5.",
)
@implemented_by("certctl.cli.actions.dev_ca:serve")
def serve() -> None:
    """Run the CA until it is stopped by Ctrl-C or SIGTERM.

    Its certificates are not publicly trusted. All names are validated at this machine, on
    unprivileged ports, so they need not resolve. POST to /manage/faults changes the faults of the
    running CA; GET /manage/requests returns its log.
    """


@command.command("root", cls=Command)
@_state_option
@implemented_by("certctl.cli.actions.dev_ca:root")
def root() -> None:
    """Print the root certificate of the CA.

    On a terminal, also print how to trust it. The root certificate and its key are created if they
    are missing.
    """


@command.command("install", cls=Command)
@_state_option
@implemented_by("certctl.cli.actions.dev_ca_trust:install")
def install() -> None:
    """Have this machine trust the root certificate of the CA.

    The system's trust store, and the databases of Chromium and Firefox of this user. For those it
    needs certutil; for the system's it needs root, or prints the command. Use it on development
    machines only. Running it again changes nothing.
    """


@command.command("uninstall", cls=Command)
@_state_option
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Remove the roots of all development CAs of certctl, also of those that are gone.",
)
@implemented_by("certctl.cli.actions.dev_ca_trust:uninstall")
def uninstall() -> None:
    """Remove what `install` added.

    The root of a CA whose directory was deleted or moved stays trusted until --all removes it.
    """
