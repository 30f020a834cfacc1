"""`certctl schedule`: run renew every hour, with systemd or cron."""

from __future__ import annotations

import click

from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, Group, examples


@click.group(
    "schedule",
    cls=Group,
    epilog=examples(
        "certctl schedule install",
        "certctl schedule show",
        "certctl schedule remove",
        "certctl schedule external",
    ),
)
def command() -> None:
    """Run renew every hour, with systemd or cron."""


@command.command("install", cls=Command)
@click.option(
    "--with",
    "chosen",
    type=click.Choice(["systemd", "cron", "crontab"]),
    help="Use this scheduler, not the first one available.",
)
@click.option("--force", is_flag=True, help="Install even if something else already runs certctl.")
@implemented_by("certctl.cli.actions.schedule:install")
def install() -> None:
    """Run `certctl renew` every hour for this home directory.

    Installs a systemd timer, a file in /etc/cron.d, or an entry in your crontab, whichever is
    available. Running it again changes nothing.
    """


@command.command("show", cls=Command)
@implemented_by("certctl.cli.actions.schedule:show")
def show() -> None:
    """Show the installed schedule, or what `install` would write."""


@command.command("remove", cls=Command)
@implemented_by("certctl.cli.actions.schedule:remove")
def remove() -> None:
    """Remove what `install` wrote for this home directory."""


@command.command("external", cls=Command)
@click.option("--undo", is_flag=True, help="Forget that something else runs it.")
@implemented_by("certctl.cli.actions.schedule:external")
def external() -> None:
    """Note that something else runs `certctl renew`.

    For example the scheduler of a cluster. `issue`, `list`, `check` and `doctor` then no longer
    report that nothing renews the certificates. Once `renew` has run, they report if it stops.
    """
