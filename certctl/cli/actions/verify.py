"""What `certctl verify` does."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.cli.invocation import Invocation
from certctl.cli.session import open_run
from certctl.operations.verify import verify
from certctl.output.document import Result
from certctl.output.verification import verification_result


def run(invocation: Invocation, services: Sequence[str], wait: float) -> Result:
    """Check that the right certificates are being served."""
    with open_run(invocation, untrusted="warn") as run:
        found = verify(run, services, timeout=wait)
        return verification_result(found, run.services.clock, terminal=invocation.output.terminal)
