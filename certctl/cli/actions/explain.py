"""What `certctl explain` does."""

from __future__ import annotations

from certctl.cli.invocation import Invocation
from certctl.cli.session import open_run
from certctl.inspection.explain import explain
from certctl.output.document import Result
from certctl.output.explanation import explanation_lines, explanation_object
from certctl.output.times import Times


def run(invocation: Invocation, name: str) -> Result:
    """Explain when and why a certificate is renewed: each rule, its time, the last attempts."""
    with open_run(invocation, untrusted="warn") as run:
        found = explain(run, name)
    times = Times(local=invocation.output.terminal)
    return Result(explanation_object(found), explanation_lines(found, times))
