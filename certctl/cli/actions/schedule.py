"""What `certctl schedule` does."""

from __future__ import annotations

from certctl.cli.invocation import Invocation
from certctl.cli.scheduling import job_of, machine_of
from certctl.cli.session import open_run
from certctl.operations import schedule
from certctl.output.document import Result
from certctl.output.schedule import external_result, installed_result, removed_result, shown_result
from certctl.output.times import Times


def install(invocation: Invocation, chosen: str | None, force: bool) -> Result:
    """Run `certctl renew` every hour for this home directory."""
    with open_run(invocation) as run:
        job, machine = job_of(invocation, run), machine_of(invocation)
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
        found = schedule.show(run, job_of(invocation, run), machine_of(invocation))
    return shown_result(found, Times(local=invocation.output.terminal))


def remove(invocation: Invocation) -> Result:
    """Remove what `install` wrote for this home directory."""
    with open_run(invocation) as run:
        found = schedule.remove(run, job_of(invocation, run), machine_of(invocation))
    return removed_result(found)


def external(invocation: Invocation, undo: bool) -> Result:
    """Note that something else runs `certctl renew`."""
    with open_run(invocation) as run:
        schedule.note_external(run, external=not undo)
    return external_result(external=not undo)
