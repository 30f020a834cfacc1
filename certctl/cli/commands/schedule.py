"""`certctl schedule`: run renew every hour, with systemd or cron."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, Group, examples
from certctl.cli.session import open_run
from certctl.output.document import Result
from certctl.output.times import Times

if TYPE_CHECKING:
    from certctl.engine.run import Run
    from certctl.schedule.job import Job
    from certctl.schedule.scheduler import Machine

_HOME_OF_ROOT = Path("/etc/certctl")
_WHERE = "import certctl.version as v, pathlib; print(pathlib.Path(v.__file__).parents[0])"
"""What another interpreter runs to print the directory of its certctl."""
_SECONDS = 30.0


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
@click.pass_obj
def install(invocation: Invocation, chosen: str | None, force: bool) -> Result:
    """Run `certctl renew` every hour for this home directory.

    Installs a systemd timer, a file in /etc/cron.d, or an entry in your crontab, whichever is
    available. Running it again changes nothing.
    """
    from certctl.operations import schedule  # noqa: PLC0415 - not for --help
    from certctl.output.schedule import installed_result  # noqa: PLC0415 - as above

    with open_run(invocation) as run:
        job, machine = _job(invocation, run), _machine(invocation)
        found = schedule.install(
            run,
            job,
            machine,
            chosen,
            force=force,
            variables=invocation.environment.variables,
        )
    return installed_result(found, Times(local=invocation.output.terminal))


@command.command("show", cls=Command)
@click.pass_obj
def show(invocation: Invocation) -> Result:
    """Show the installed schedule, or what `install` would write."""
    from certctl.operations import schedule  # noqa: PLC0415 - not for --help
    from certctl.output.schedule import shown_result  # noqa: PLC0415 - as above

    with open_run(invocation, untrusted="warn") as run:
        found = schedule.show(run, _job(invocation, run), _machine(invocation))
    return shown_result(found, Times(local=invocation.output.terminal))


@command.command("remove", cls=Command)
@click.pass_obj
def remove(invocation: Invocation) -> Result:
    """Remove what `install` wrote for this home directory."""
    from certctl.operations import schedule  # noqa: PLC0415 - not for --help
    from certctl.output.schedule import removed_result  # noqa: PLC0415 - as above

    with open_run(invocation) as run:
        found = schedule.remove(run, _job(invocation, run), _machine(invocation))
    return removed_result(found)


@command.command("external", cls=Command)
@click.option("--undo", is_flag=True, help="Forget that something else runs it.")
@click.pass_obj
def external(invocation: Invocation, undo: bool) -> Result:
    """Note that something else runs `certctl renew`.

    For example the scheduler of a cluster. `issue`, `list`, `check` and `doctor` then no longer
    report that nothing renews the certificates. Once `renew` has run, they report if it stops.
    """
    from certctl.operations import schedule  # noqa: PLC0415 - not for --help
    from certctl.output.schedule import external_result  # noqa: PLC0415 - as above

    with open_run(invocation) as run:
        schedule.note_external(run, external=not undo)
    return external_result(external=not undo)


def _machine(invocation: Invocation) -> Machine:
    from certctl.schedule.scheduler import Machine  # noqa: PLC0415 - not for --help

    return Machine(user_id=invocation.environment.user_id)


def _job(invocation: Invocation, run: Run) -> Job:
    from certctl.schedule.job import job_for  # noqa: PLC0415 - not for --help

    home = Path(os.path.normpath(Path(run.services.tree.home)))
    usual = _HOME_OF_ROOT if invocation.environment.user_id == 0 else home
    return job_for(_program(), home, default_home=usual, node=os.uname().nodename)


def _program() -> tuple[str, ...]:
    """Return the command that runs this certctl: this interpreter, isolated, with the module. If
    that would not find this certctl, as with `pip install --user`, it is the absolute path that
    certctl was called by; a link such as /usr/local/bin/certctl is not resolved.
    """
    from certctl.schedule.job import ISOLATED  # noqa: PLC0415 - not for --help
    from certctl.system.process import run  # noqa: PLC0415 - as above

    isolated = (sys.executable, *ISOLATED)
    package = str(Path(__file__).parents[2])
    found = run([sys.executable, "-I", "-c", _WHERE], environment={}, timeout=_SECONDS)
    if found.exit_status == 0 and found.output.strip() == package:
        return isolated
    called = Path(sys.argv[0])
    with suppress(OSError):  # the working directory may be gone
        called = called.absolute()
    runs = called.is_absolute() and called.is_file() and os.access(called, os.X_OK)
    if called.name == "certctl" and runs:
        return (str(called),)
    return (sys.executable, "-m", "certctl")
