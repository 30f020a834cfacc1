"""What `certctl snippet` does."""

from __future__ import annotations

from certctl.cli.invocation import Invocation
from certctl.cli.session import open_run
from certctl.cli.specs import given_options
from certctl.operations.snippet import make_snippet
from certctl.output.document import Result
from certctl.output.snippet import snippet_result


def run(invocation: Invocation, server: str, name: str) -> Result:
    """Print what to paste into a web server's configuration."""
    with open_run(invocation) as run:
        return snippet_result(make_snippet(run, server, name, given_options(invocation)))
