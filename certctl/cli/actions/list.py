"""What `certctl list` does."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.cli.invocation import Invocation
from certctl.cli.session import open_run
from certctl.inspection.overview import overview
from certctl.inspection.scheduled import INSTALL, MachineContext, is_renewed
from certctl.model.errors import worst
from certctl.output.certificates import table, view_object
from certctl.output.document import Result
from certctl.output.times import Times


def run(invocation: Invocation, names: Sequence[str]) -> Result:
    """List certificates: state, remaining time, next renewal, whether they are deployed."""
    with open_run(invocation, untrusted="warn") as run:
        views = overview(run, names)
        renewed = is_renewed(MachineContext(invocation.environment.variables), run)
    problems = [view.problem for view in views if view.problem is not None]
    lines: list[object] = [table(views, Times(local=invocation.output.terminal))]
    if not renewed and any(view.autorenew and view.live for view in views):
        lines.append(f"Nothing renews them automatically. To schedule it, run: {INSTALL}")
    if not views:
        lines = ["There are no certificates yet. Obtain one with: certctl issue example.com"]
    return Result(
        {"certificates": [view_object(view) for view in views]},
        lines if views or invocation.output.terminal else (),
        problems,
        worst([problem.exit_status for problem in problems]),
    )
