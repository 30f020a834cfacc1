"""What `certctl list` does."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.cli.invocation import Invocation
from certctl.cli.selection import selection_of
from certctl.cli.session import open_run
from certctl.engine.rows import CertificateView
from certctl.inspection.scheduled import INSTALL, MachineContext, is_renewed
from certctl.inspection.selection import listed_views
from certctl.model.errors import worst
from certctl.output.certificates import view_object
from certctl.output.console import Message
from certctl.output.document import Result
from certctl.output.listing import list_table, problem_lines, readable, sorted_views, totals
from certctl.output.times import Times
from certctl.rules.selection import listed


def run(invocation: Invocation, names: Sequence[str], sort: str) -> Result:
    """List certificates: state, remaining time, next renewal, whether they are deployed."""
    selection = selection_of(invocation, names)
    with open_run(invocation, untrusted="warn") as run:
        views = listed_views(run, selection)
        if invocation.output.unicode and not invocation.output.json:
            views = [readable(view) for view in views]
        views = sorted_views(views, sort)
        without_spec = run.services.records.names_without_spec() if selection.unlimited else ()
        renewed = is_renewed(MachineContext(invocation.environment.variables), run)
    problems = [view.problem for view in views if view.problem is not None]
    # of thousands of rows, only what is printed is made
    json = invocation.output.json
    lines = [] if json else _lines(views, terminal=invocation.output.terminal)
    if not renewed and any(view.autorenew and view.live for view in views):
        lines.append(Message(f"Nothing renews them automatically. To schedule it, run: {INSTALL}"))
    if without_spec:
        lines.append(
            Message(
                f"There are files, but no specifications, of {listed(without_spec)}: they are not"
                " renewed. For details, run: certctl doctor"
            )
        )
    if not views and not without_spec:
        none = "There are no certificates yet. Obtain one with: certctl issue example.com"
        lines = [Message(none if selection.unlimited else "No certificate meets these conditions.")]
    return Result(
        {"certificates": [view_object(view) for view in views] if json else []},
        lines if views or without_spec or invocation.output.terminal else (),
        problems,
        worst([problem.exit_status for problem in problems]),
    )


def _lines(views: Sequence[CertificateView], *, terminal: bool) -> list[object]:
    times = Times(local=terminal)
    if not views:
        return []
    lines: list[object] = [list_table(views, times, short=terminal)]
    problems = problem_lines(views, times)
    if problems or len(views) > 1:
        lines += ["", *problems]
    if len(views) > 1:
        lines.append(Message(totals(views)))
    return lines
