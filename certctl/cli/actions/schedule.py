"""What `certctl schedule` does."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from certctl.cli.invocation import Invocation
from certctl.cli.session import open_run
from certctl.engine.run import Run
from certctl.operations import schedule
from certctl.output.document import Result
from certctl.output.schedule import external_result, installed_result, removed_result, shown_result
from certctl.output.times import Times
from certctl.schedule.job import ISOLATED, Job, job_for
from certctl.schedule.scheduler import Machine
from certctl.system.process import run

_HOME_OF_ROOT = Path("/etc/certctl")

_WHERE = "import certctl.version as v, pathlib; print(pathlib.Path(v.__file__).parents[0])"
"""What another interpreter runs to print the directory of its certctl."""

_SECONDS = 30.0


def install(invocation: Invocation, chosen: str | None, force: bool) -> Result:
    """Run `certctl renew` every hour for this home directory."""
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


def show(invocation: Invocation) -> Result:
    """Show the installed schedule, or what `install` would write."""
    with open_run(invocation, untrusted="warn") as run:
        found = schedule.show(run, _job(invocation, run), _machine(invocation))
    return shown_result(found, Times(local=invocation.output.terminal))


def remove(invocation: Invocation) -> Result:
    """Remove what `install` wrote for this home directory."""
    with open_run(invocation) as run:
        found = schedule.remove(run, _job(invocation, run), _machine(invocation))
    return removed_result(found)


def external(invocation: Invocation, undo: bool) -> Result:
    """Note that something else runs `certctl renew`."""
    with open_run(invocation) as run:
        schedule.note_external(run, external=not undo)
    return external_result(external=not undo)


def _machine(invocation: Invocation) -> Machine:
    return Machine(user_id=invocation.environment.user_id)


def _job(invocation: Invocation, run: Run) -> Job:
    home = Path(os.path.normpath(Path(run.services.tree.home)))
    usual = _HOME_OF_ROOT if invocation.environment.user_id == 0 else home
    return job_for(_program(), home, default_home=usual, node=os.uname().nodename)


def _program() -> tuple[str, ...]:
    """Return the command that runs this certctl: this interpreter, isolated, with the module. If
    that would not find this certctl, as with `pip install --user`, it is the absolute path that
    certctl was called by; a link such as /usr/local/bin/certctl is not resolved.
    """
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
