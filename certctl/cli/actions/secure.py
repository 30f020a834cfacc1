"""What `certctl secure` does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from certctl.cli.invocation import Invocation
from certctl.cli.reports import report_lines, require_confirmation
from certctl.cli.scheduling import job_of, machine_of
from certctl.cli.session import open_run
from certctl.cli.specs import given_options
from certctl.engine.run import Run
from certctl.model.errors import CertctlError, UsageError
from certctl.model.names import parse_identifiers
from certctl.operations import schedule as schedules
from certctl.operations.schedule import Schedule
from certctl.operations.secure import carry_out
from certctl.operations.secure import undo as undo_
from certctl.operations.secure_look import SecureChoices, SecurePlan, look
from certctl.output.console import terminal_text
from certctl.output.document import Result
from certctl.output.secure import (
    coloured,
    head_lines,
    planned_result,
    secured_result,
    undone_result,
)


def run(  # noqa: PLR0913, PLR0917 - one for each option
    invocation: Invocation,
    names: Sequence[str],
    undo: bool,
    dry_run: bool,
    challenges_only: bool,
    redirect: bool | None,
    hsts: bool | None,
    schedule: bool | None,
    web_server: str | None,
    name: str | None,
) -> Result:
    """Serve these names over HTTPS from the web server that answers for them at port 80."""
    if undo:
        return _undo(invocation, names, dry_run=dry_run)
    _require_root(invocation)
    choices = SecureChoices(
        parse_identifiers(tuple(names)),
        name=name,
        given=given_options(invocation),
        redirect=redirect,
        hsts=hsts,
        challenges_only=challenges_only,
        web_server=web_server,
    )
    with open_run(invocation) as run:
        plan = look(choices, run)
        if dry_run:
            return planned_result(plan)
        _show(plan, invocation)
        if plan.changes.files:
            require_confirmation(invocation, "Change these files?", plan.name)
        done = carry_out(plan, run)
        lines = report_lines(done.report, run, invocation) if done.report else []
    scheduled, problem = None, None
    if done.report is not None and not done.report.all_errors:
        # Another run: the progress of the first one is over before a question is asked.
        with open_run(invocation) as run:
            scheduled, problem = _schedule(invocation, run, wanted=schedule)
    return secured_result(plan, done, lines, scheduled, problem)


def _undo(invocation: Invocation, names: Sequence[str], *, dry_run: bool) -> Result:
    if len(names) != 1:
        raise UsageError("--undo takes the name of one certificate", hint="certctl list")
    _require_root(invocation)
    with open_run(invocation) as run:
        found = undo_(names[0], run, dry_run=True)
        if dry_run:
            return undone_result(found, dry_run=True)
        _print_diffs(found.diffs.values(), invocation)
        if found.diffs:
            require_confirmation(invocation, "Change these files back?", found.name)
        return undone_result(undo_(names[0], run), dry_run=False)


def _require_root(invocation: Invocation) -> None:
    if invocation.environment.user_id != 0:
        raise UsageError(
            "only root can change the configuration of a web server",
            hint="Run the same command with sudo.",
        )


def _show(plan: SecurePlan, invocation: Invocation) -> None:
    """Show on standard error what would be done, before any question."""
    for line in head_lines(plan):
        invocation.output.note(line)
    _print_diffs(plan.diffs.values(), invocation)
    for note in plan.notes:
        invocation.output.warning(note)


def _print_diffs(diffs: Iterable[str], invocation: Invocation) -> None:
    output = invocation.output
    if output.quiet or output.json:
        return
    for diff in diffs:
        text = terminal_text(diff)
        shown = coloured(text) if output.colour(output.stderr) else text
        output.write_error(f"{shown}\n\n")


def _schedule(
    invocation: Invocation, run: Run, *, wanted: bool | None
) -> tuple[Schedule | None, CertctlError | None]:
    """Install the schedule unless there is one. A problem is returned, since all else is done."""
    job, machine = job_of(invocation, run), machine_of(invocation)
    found = schedules.show(run, job, machine)
    arranged = found.installed is not None or found.others or found.external
    if arranged or wanted is False or found.scheduler is None:
        return found, None
    question = f"Renew automatically: install a schedule with {found.scheduler}?"
    if not (wanted or invocation.confirm(question)):
        return found, None
    try:
        variables = invocation.environment.variables
        return schedules.install(run, job, machine, None, force=False, variables=variables), None
    except CertctlError as error:
        return found, error
