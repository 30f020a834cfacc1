"""`certctl check`: a monitoring plug-in for Nagios, Icinga and compatible systems.

It always exits with the status of a plug-in and prints to standard output.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from certctl.cli.completion import CertificateName
from certctl.cli.implementation import implementation, implemented_by
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, bad_value, examples
from certctl.model.errors import CertctlError, UsageError
from certctl.output.document import Result
from certctl.rules.settings import duration
from certctl.rules.thresholds import Threshold, parse_threshold


class PluginCommand(Command):
    """A command that reports every error, including usage errors, as a plug-in's UNKNOWN."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        if parent is not None:
            parent.ensure_object(Invocation).failed = _unknown
        return super().make_context(info_name, args, parent, **extra)


def _unknown(error: CertctlError) -> Result:
    result: Result = implementation("certctl.output.monitoring_plugin:unknown_result")(error)
    return result


def _threshold(context: click.Context, parameter: click.Parameter, value: str) -> Threshold:
    try:
        return parse_threshold(value)
    except CertctlError as error:
        raise bad_value(context, parameter, error) from error


def _age(context: click.Context, parameter: click.Parameter, value: str) -> timedelta | None:
    seconds = duration(value)
    if seconds is None:
        error = UsageError(
            f"{value!r} is not a duration", hint="Give a duration such as 26h or 2d."
        )
        raise bad_value(context, parameter, error)
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
    type=CertificateName(),
)
@click.option(
    "-w",
    "--warning",
    default="1/4",
    metavar="LEFT",
    callback=_threshold,
    help="Report WARNING below this remaining time: a fraction of the lifetime (1/4, 25%) or a"
    " duration (20d). [default: 1/4]",
)
@click.option(
    "-c",
    "--critical",
    default="1/6",
    metavar="LEFT",
    callback=_threshold,
    help="Report CRITICAL below this remaining time. [default: 1/6]",
)
@click.option(
    "--run-age",
    default="2d",
    metavar="DURATION",
    callback=_age,
    help="Report WARNING if no scheduled renew ran for this long; 0 turns this off. [default: 2d]",
)
@implemented_by("certctl.cli.actions.check:run")
def command() -> None:
    """Check certificates and services, for Nagios-like monitoring.

    NAME is a certificate of this home directory (all by default): its remaining time, failing
    renewals, pending deployments, and whether renew runs. HOST is a service: the certificate that
    it serves.

    Prints one line with performance data. The exit status is 0 OK, 1 WARNING, 2 CRITICAL or
    3 UNKNOWN, unlike that of other commands.
    """
