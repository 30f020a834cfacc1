"""What `certctl verify` does."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.cli.chosen import choose, nothing_chosen
from certctl.cli.invocation import Invocation
from certctl.cli.selection import selection_of
from certctl.cli.session import open_run
from certctl.engine.run import Run
from certctl.inspection.selection import certificate_of
from certctl.operations.verify import verify
from certctl.output.document import Result
from certctl.output.verification import verification_result
from certctl.rules.service_address import looks_like_service


def run(invocation: Invocation, services: Sequence[str], wait: float) -> Result:
    """Check that the right certificates are being served."""
    with open_run(invocation, untrusted="warn") as run:
        selection = selection_of(invocation, services)
        if selection.unlimited or selection.named_only:
            subjects = [_subject(each, run) for each in services]
        else:
            subjects = list(choose(invocation, services, run).names)
            if not subjects:
                return nothing_chosen(invocation)
        found = verify(run, subjects, timeout=wait)
        return verification_result(found, run.services.clock, terminal=invocation.output.terminal)


def _subject(word: str, run: Run) -> str:
    """Return the certificate that a word means, or the word if it is a service."""
    if looks_like_service(word) and word not in run.services.records.names():
        return word
    return certificate_of(word, run) or word
