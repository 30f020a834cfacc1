"""What `certctl schema` does."""

from __future__ import annotations

import json

from certctl.cli.invocation import Invocation
from certctl.engine.plugins import option_table
from certctl.output.document import Result
from certctl.rules.desired_schema import schema


def run(_invocation: Invocation) -> Result:
    """Print the JSON Schema of a desired state."""
    found = schema(option_table().values())
    return Result({"schema": found}, json.dumps(found, indent=2).split("\n"))
