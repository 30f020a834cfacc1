"""`certctl schedule`: renewal every hour, by systemd or by cron."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, Group, examples
from certctl.cli.session import open_run
from certctl.output.document import Result
from certctl.output.times import Times

if TYPE_CHECKING:
    from certctl.operations.run import Run
    from certctl.schedule.job import Job
    from certctl.schedule.scheduler import Machine

_ROOTS_HOME = Path("/etc/certctl")


@click.group(
    "schedule",
    cls=Group,
    epilog=examples(
        "certctl schedule install",
        "certctl schedule show",
        "certctl schedule remove",
    ),
)
def command() -> None:
    """Have renew run every hour, by systemd or by cron."""


@command.command("install", cls=Command)
@click.option(
    "--with",
    "wanted",
    type=click.Choice(["systemd", "cron", "crontab"]),
    help="Use this, and not the first of them that is here.",
)
@click.option("--force", is_flag=True, help="Install it though something else runs certctl.")
@click.pass_obj
def install(invocation: Invocation, wanted: str | None, force: bool) -> Result:
    """Have `certctl renew` run every hour for this home directory: by a systemd timer, by a file in
    /etc/cron.d, or by your crontab, whichever is here. Repeating it changes nothing.
    """
    from certctl.operations import schedule  # noqa: PLC0415 - not for --help
    from certctl.output.schedule import installed_result  # noqa: PLC0415 - as above

    with open_run(invocation) as run:
        job, machine = _job(invocation, run), _machine(invocation)
        found = schedule.install(run, job, machine, wanted, force=force)
    return installed_result(found, Times(local=invocation.output.terminal))


@command.command("show", cls=Command)
@click.pass_obj
def show(invocation: Invocation) -> Result:
    """Show what runs and when, or what `install` would write."""
    from certctl.operations import schedule  # noqa: PLC0415 - not for --help
    from certctl.output.schedule import shown_result  # noqa: PLC0415 - as above

    with open_run(invocation) as run:
        found = schedule.show(run, _job(invocation, run), _machine(invocation))
    return shown_result(found, Times(local=invocation.output.terminal))


@command.command("remove", cls=Command)
@click.pass_obj
def remove(invocation: Invocation) -> Result:
    """Take away what `install` has written for this home directory."""
    from certctl.operations import schedule  # noqa: PLC0415 - not for --help
    from certctl.output.schedule import removed_result  # noqa: PLC0415 - as above

    with open_run(invocation) as run:
        found = schedule.remove(run, _job(invocation, run), _machine(invocation))
    return removed_result(found)


def _machine(invocation: Invocation) -> Machine:
    from certctl.schedule.scheduler import Machine  # noqa: PLC0415 - not for --help

    return Machine(user_id=invocation.environment.user_id)


def _job(invocation: Invocation, run: Run) -> Job:
    from certctl.schedule.job import job_for  # noqa: PLC0415 - not for --help

    home = Path(os.path.normpath(Path(run.services.tree.home)))
    usual = _ROOTS_HOME if invocation.environment.user_id == 0 else home
    return job_for(_program(), home, default_home=usual, node=os.uname().nodename)


def _program() -> tuple[str, ...]:
    """Return the words that start this certctl: its command as it was called, by its whole path,
    or this interpreter with the module. A link such as /usr/local/bin/certctl is kept.
    """
    called = Path(sys.argv[0]).absolute()
    if called.name == "certctl" and os.access(called, os.X_OK) and called.is_file():
        return (str(called),)
    return (sys.executable, "-m", "certctl")
