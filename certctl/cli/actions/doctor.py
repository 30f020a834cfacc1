"""What `certctl doctor` does."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.cli.invocation import Invocation
from certctl.cli.session import open_run
from certctl.cli.specs import given_options
from certctl.inspection.doctor import DoctorRequest, diagnose
from certctl.inspection.scheduled import MachineContext
from certctl.output.document import Result
from certctl.output.findings import diagnosis_result


def run(invocation: Invocation, names: Sequence[str], write: bool | None, *, fix: bool) -> Result:
    """Find problems that would make an issuance or a renewal fail, and how to fix them."""
    with open_run(invocation, untrusted="ignore") as run:
        request = DoctorRequest(
            names=tuple(dict.fromkeys(names)),
            given=given_options(invocation),
            write=write,
            fix=fix,
            context=MachineContext(invocation.environment.variables),
        )
        diagnosis = diagnose(request, run)
    return diagnosis_result(diagnosis)
