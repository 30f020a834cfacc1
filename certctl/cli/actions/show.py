"""What `certctl show` does."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.cli.chosen import choose, nothing_chosen, require_selection
from certctl.cli.invocation import Invocation
from certctl.cli.session import open_run
from certctl.inspection.overview import details
from certctl.output.certificates import details_lines, details_object
from certctl.output.document import Result
from certctl.output.times import Times
from certctl.rules.shown_names import shown_name


def run(invocation: Invocation, names: Sequence[str]) -> Result:
    """Show everything about certificates: names, times, files, hooks, the last error."""
    require_selection(invocation, names, "Name one, or list all with: certctl list")
    with open_run(invocation, untrusted="warn") as run:
        chosen = choose(invocation, names, run)
        found = [details(run, each) for each in chosen.names]
    if not found:
        return nothing_chosen(invocation)
    times = Times(local=invocation.output.terminal)
    title = shown_name if invocation.output.unicode else str
    lines: list[object] = []
    for each in found:
        lines += [*([""] if lines else []), *details_lines(each, times, title(each.view.name))]
    if len(names) == 1 and chosen.one:
        return Result(details_object(found[0]), lines)
    return Result({"certificates": [details_object(each) for each in found]}, lines)
