"""What `certctl show` does."""

from __future__ import annotations

from certctl.cli.invocation import Invocation
from certctl.cli.session import open_run
from certctl.inspection.overview import details
from certctl.output.certificates import details_lines, details_object
from certctl.output.document import Result
from certctl.output.times import Times


def run(invocation: Invocation, name: str) -> Result:
    """Show everything about one certificate: names, times, files, hooks, the last error."""
    with open_run(invocation, untrusted="warn") as run:
        found = details(run, name)
    return Result(
        details_object(found), details_lines(found, Times(local=invocation.output.terminal))
    )
