"""`certctl metrics`: metrics for Prometheus, and for its textfile collector."""

from __future__ import annotations

import click

from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples


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
@implemented_by("certctl.cli.actions.metrics:run")
def command() -> None:
    """Print metrics of certificates and runs for Prometheus, or write them to a file.

    The textfile collector of the node exporter reads such files.
    """
