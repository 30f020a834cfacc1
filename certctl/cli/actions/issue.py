"""What `certctl issue` does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from certctl.ca.directories import DEV
from certctl.cli.invocation import Invocation
from certctl.cli.reports import read_file, report_lines
from certctl.cli.session import open_run
from certctl.cli.specs import given_options
from certctl.engine.report import Report
from certctl.engine.run import Run
from certctl.inspection.scheduled import INSTALL, MachineContext, is_renewed
from certctl.model.names import parse_identifiers
from certctl.operations.issue import IssueRequest, issue
from certctl.output.certificates import report_result
from certctl.output.console import Message
from certctl.output.document import Result
from certctl.system.background import Background


def run(
    invocation: Invocation,
    names: Sequence[str],
    domains: Sequence[str],
    name: str | None,
    csr: str | None,
    force: bool,
    dry_run: bool,
) -> Result:
    """Obtain a certificate for these names, and deploy it."""
    identifiers = parse_identifiers((*names, *domains))
    with open_run(invocation) as run:
        request = IssueRequest(
            identifiers,
            name=name,
            given=given_options(invocation),
            csr=read_file(Path(csr)) if csr else None,
            force=force,
            confirmed=invocation.yes,
            dry_run=dry_run,
        )
        context = MachineContext(invocation.environment.variables)
        # while the CA is waited for
        renewed = Background(partial(is_renewed, context, run), "scheduled")
        report = issue(request, run)
        lines = report_lines(report, run, invocation)
        return report_result(report, [*lines, *_schedule_lines(report, run, renewed)])


def _schedule_lines(report: Report, run: Run, renewed: Background[bool]) -> list[object]:
    """Return the last line of `issue` if nothing will renew what it issued."""
    kept = [each.name for each in report.outcomes if each.version is not None]
    if report.dry_run or not any(_is_renewable(name, run) for name in kept):
        return []
    if renewed.result():
        return []
    return [Message(f"Nothing renews it automatically yet. To schedule that, run: {INSTALL}")]


def _is_renewable(name: str, run: Run) -> bool:
    spec = run.services.records.spec(name)
    return spec.autorenew and spec.ca != DEV
