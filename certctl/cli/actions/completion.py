"""What `certctl completion` does."""

from __future__ import annotations

import click

from certctl.cli.completion_scripts import completion_script
from certctl.cli.invocation import Invocation
from certctl.output.document import Result


def run(_invocation: Invocation, shell: str) -> Result:
    """Print the completion script of a shell."""
    script = completion_script(click.get_current_context().find_root().command, shell)
    return Result({"shell": shell, "script": script}, [script.rstrip("\n")])
