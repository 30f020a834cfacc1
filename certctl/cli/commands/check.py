"""`certctl check`: a plugin for Nagios, Icinga and whatever else runs such plugins.

Its exit status is that of plugins, whatever happens, and what it has to say is on standard output.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from certctl.cli.completion import certificate_names
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, examples
from certctl.cli.session import open_run
from certctl.errors import CertctlError
from certctl.operations.check import Limits, check
from certctl.output.document import Result
from certctl.output.monitoring_plugin import check_result, unknown_result
from certctl.settings import duration
from certctl.thresholds import Threshold, parse_threshold

if TYPE_CHECKING:
    from collections.abc import Sequence


class PluginCommand(Command):
    """A command all of whose errors, those of its usage too, are a plugin's UNKNOWN."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        if parent is not None:
            parent.ensure_object(Invocation).failed = unknown_result
        return super().make_context(info_name, args, parent, **extra)


def _threshold(_context: click.Context, _parameter: click.Parameter, value: str) -> Threshold:
    try:
        return parse_threshold(value)
    except CertctlError as error:
        raise click.BadParameter(error.message) from error


def _age(_context: click.Context, _parameter: click.Parameter, value: str) -> timedelta | None:
    seconds = duration(value)
    if seconds is None:
        raise click.BadParameter(f"{value!r} is no duration, such as 26h or 2d")
    return timedelta(seconds=min(seconds, 1e9)) if seconds else None


@click.command(
    "check",
    cls=PluginCommand,
    epilog=examples(
        "certctl check",
        "certctl check --warning 1/3 --critical 5d example.com",
        "certctl check www.example.org:443 mail.example.com:587/starttls=smtp",
    ),
)
@click.argument(
    "subjects",
    nargs=-1,
    metavar="[NAME|HOST[:PORT][/starttls=PROTOCOL]]...",
    shell_complete=certificate_names,
)
@click.option(
    "-w",
    "--warning",
    default="1/4",
    metavar="LEFT",
    callback=_threshold,
    help="Warn below this: a part of the lifetime (1/4, 25%) or a duration (20d). [default: 1/4]",
)
@click.option(
    "-c",
    "--critical",
    default="1/6",
    metavar="LEFT",
    callback=_threshold,
    help="Below this it is critical. [default: 1/6]",
)
@click.option(
    "--run-age",
    default="2d",
    metavar="DURATION",
    callback=_age,
    help="Warn where renew has not run by itself for so long; 0 for never. [default: 2d]",
)
@click.pass_obj
def command(
    invocation: Invocation,
    subjects: Sequence[str],
    warning: Threshold,
    critical: Threshold,
    run_age: timedelta | None,
) -> Result:
    """Check certificates, ours by name (all of them by default), for Nagios and its kin: their
    time left, failing renewals, deploys that are owed, and whether renew runs; and services, by
    their host, for what they really show.

    Prints one line with performance data, and ends with 0 OK, 1 WARNING, 2 CRITICAL or 3 UNKNOWN,
    which are not the exit statuses of other commands.
    """
    with open_run(invocation) as run:
        return check_result(check(run, subjects, Limits(warning, critical, run_age)))
