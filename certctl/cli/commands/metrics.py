"""`certctl metrics`: metrics for Prometheus, and for its textfile collector."""

from __future__ import annotations

import click

from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, examples
from certctl.cli.session import open_run
from certctl.output.document import Result
from certctl.rules.paths import absolute_path

_STANDARD_OUTPUT = 1


@click.command(
    "metrics",
    cls=Command,
    epilog=examples(
        "certctl metrics",
        "certctl metrics --out /var/lib/prometheus/node-exporter/certctl.prom",
    ),
)
@click.option(
    "--out",
    metavar="FILE",
    help="Write the metrics to this file, atomically and with mode 0644; - is standard output.",
)
@click.pass_obj
def command(invocation: Invocation, out: str | None) -> Result:
    """Print metrics of certificates and runs for Prometheus, or write them to a file.

    The textfile collector of the node exporter reads such files.
    """
    from certctl.inspection.overview import overview  # noqa: PLC0415 - not for --help
    from certctl.operations.export import require_replaceable  # noqa: PLC0415 - not for --help
    from certctl.output.metrics import metrics_text  # noqa: PLC0415 - as above
    from certctl.system.destinations import open_stream, write_stream  # noqa: PLC0415 - as above
    from certctl.system.files import write_atomic  # noqa: PLC0415 - as above

    with open_run(invocation, untrusted="warn") as run:
        views, history = overview(run), run.services.store.history()
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
