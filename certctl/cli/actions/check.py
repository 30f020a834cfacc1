"""What `certctl check` does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from certctl.cli.invocation import Invocation
from certctl.cli.session import open_run
from certctl.inspection.check import Limits, check
from certctl.inspection.scheduled import MachineContext
from certctl.output.document import Result
from certctl.output.monitoring_plugin import check_result
from certctl.rules.thresholds import Threshold


def run(
    invocation: Invocation,
    subjects: Sequence[str],
    warning: Threshold,
    critical: Threshold,
    run_age: timedelta | None,
) -> Result:
    """Check certificates and services, for Nagios-like monitoring."""
    with open_run(invocation, untrusted="warn") as run:
        context = MachineContext(invocation.environment.variables)
        return check_result(check(run, subjects, Limits(warning, critical, run_age), context))
