"""What `certctl metrics` does."""

from __future__ import annotations

from certctl.cli.invocation import Invocation
from certctl.cli.session import open_run
from certctl.inspection.overview import overview
from certctl.operations.export import require_replaceable
from certctl.output.document import Result
from certctl.output.metrics import metrics_text
from certctl.rules.paths import absolute_path
from certctl.system.destinations import open_stream, write_stream
from certctl.system.files import write_atomic

_STANDARD_OUTPUT = 1


def run(invocation: Invocation, out: str | None) -> Result:
    """Print metrics of certificates and runs for Prometheus, or write them to a file."""
    with open_run(invocation, untrusted="warn") as run:
        views, history = overview(run), run.services.machine.history()
        text = metrics_text(views, history)
        stream = _STANDARD_OUTPUT if out is None else open_stream(out)
        if stream is not None and stream != _STANDARD_OUTPUT:
            write_stream(stream, text)
            return Result({"certificates": len(views), "file": out, "text": None}, [])
        path = None
        if out is not None and stream is None:
            path = absolute_path(out, invocation.environment.directory)
            require_replaceable(path)
        if path is not None:
            if path.suffix != ".prom":
                run.warn(
                    f"{path} will be ignored by the node exporter: its name does not end in .prom"
                )
            write_atomic(path, text, 0o644)
    lines = text.decode().splitlines() if path is None else []
    if path is not None and invocation.output.terminal:
        lines = [f"The metrics of {len(views)} certificates were written to {path}."]
    data = {
        "certificates": len(views),
        "file": None if path is None else str(path),
        "text": text.decode() if path is None else None,
    }
    return Result(data, lines)
