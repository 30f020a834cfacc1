"""What `certctl edit` does."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.cli.invocation import Invocation
from certctl.cli.reports import report_lines
from certctl.cli.session import open_run
from certctl.cli.specs import given_options
from certctl.engine.specs import require
from certctl.model.errors import UsageError
from certctl.model.names import parse_identifiers
from certctl.operations.issue import edit
from certctl.output.certificates import report_result
from certctl.output.document import Result


def run(invocation: Invocation, name: str, add: Sequence[str], remove: Sequence[str]) -> Result:
    """Change the names or options of a certificate, and reissue it if necessary."""
    given = given_options(invocation)
    with open_run(invocation) as run:
        require(run, (name,))
        if not (add or remove or given):
            raise UsageError(
                f"no change of {name} was given",
                hint="Change its names with --add NAME or --remove NAME, or its options, such as"
                " --key-type, --webroot, --deploy or --no-autorenew; all of them:"
                f" certctl edit --help-all. What they are now: certctl show {name}",
                name=name,
                code="usage.nothing_to_change",
            )
        report = edit(run, name, parse_identifiers(add), parse_identifiers(remove), given)
        return report_result(report, report_lines(report, run, invocation))
