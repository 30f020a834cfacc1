"""What `certctl edit` does."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.cli.invocation import Invocation
from certctl.cli.reports import report_lines
from certctl.cli.session import open_run
from certctl.cli.specs import given_options
from certctl.model.names import parse_identifiers
from certctl.operations.issue import edit
from certctl.output.certificates import report_result
from certctl.output.document import Result


def run(invocation: Invocation, name: str, add: Sequence[str], remove: Sequence[str]) -> Result:
    """Change the names or options of a certificate, and reissue it if necessary."""
    with open_run(invocation) as run:
        report = edit(
            run,
            name,
            parse_identifiers(add),
            parse_identifiers(remove),
            given_options(invocation),
        )
        return report_result(report, report_lines(report, run, invocation))
