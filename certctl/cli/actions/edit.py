"""What `certctl edit` does."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.cli.chosen import (
    choose,
    counted,
    nothing_chosen,
    require_selection,
)
from certctl.cli.desired import require_agreement
from certctl.cli.invocation import Invocation
from certctl.cli.reports import report_lines
from certctl.cli.session import open_run
from certctl.cli.specs import given_options
from certctl.model.errors import UsageError
from certctl.model.names import parse_identifiers
from certctl.operations.apply import apply
from certctl.operations.issue import edit, edited_specs
from certctl.operations.plan import plan_changes
from certctl.output.certificates import report_result
from certctl.output.document import Result


def run(
    invocation: Invocation, names: Sequence[str], add: Sequence[str], remove: Sequence[str]
) -> Result:
    """Change the names or options of certificates, and reissue them if necessary."""
    require_selection(invocation, names, "Name one: certctl edit NAME --key-type ecdsa-p256")
    given = given_options(invocation)
    with open_run(invocation) as run:
        chosen = choose(invocation, names, run)
        if not chosen.names:
            return nothing_chosen(invocation)
        if not (add or remove or given):
            raise _nothing_to_change(chosen.names)
        added, removed = parse_identifiers(add), parse_identifiers(remove)
        if chosen.one:
            report = edit(run, chosen.names, added, removed, given)
        else:
            forecast = plan_changes(edited_specs(run, chosen.names, added, removed, given), run)
            if forecast.to_do:
                require_agreement(invocation, forecast, f"Change {counted(chosen.names)}?")
            report = apply(forecast, run)
        return report_result(report, report_lines(report, run, invocation))


def _nothing_to_change(names: Sequence[str]) -> UsageError:
    return UsageError(
        f"no change of {counted(names)} was given",
        hint="Change its names with --add NAME or --remove NAME, or its options, such as"
        " --key-type, --webroot, --deploy or --no-autorenew; all of them:"
        f" certctl edit --help-all. What they are now: certctl show {names[0]}",
        name=names[0] if len(names) == 1 else None,
        code="usage.nothing_to_change",
    )
