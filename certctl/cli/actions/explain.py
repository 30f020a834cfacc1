"""What `certctl explain` does."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.cli.chosen import choose, nothing_chosen, require_selection
from certctl.cli.invocation import Invocation
from certctl.cli.session import open_run
from certctl.inspection.explain import explain
from certctl.output.document import Result
from certctl.output.explanation import explanation_lines, explanation_object
from certctl.output.times import Times


def run(invocation: Invocation, names: Sequence[str]) -> Result:
    """Explain when and why certificates are renewed: each rule, its time, the last attempts."""
    require_selection(invocation, names, "Name one, or list all with: certctl list")
    with open_run(invocation, untrusted="warn") as run:
        chosen = choose(invocation, names, run)
        found = [explain(run, each) for each in chosen.names]
    if not found:
        return nothing_chosen(invocation)
    times = Times(local=invocation.output.terminal)
    lines: list[object] = []
    for each in found:
        lines += [*([""] if lines else []), *explanation_lines(each, times)]
    if len(names) == 1 and chosen.one:
        return Result(explanation_object(found[0]), lines)
    return Result({"certificates": [explanation_object(each) for each in found]}, lines)
