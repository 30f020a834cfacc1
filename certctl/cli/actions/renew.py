"""What `certctl renew` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from certctl.cli.chosen import choose, nothing_chosen
from certctl.cli.invocation import Invocation
from certctl.cli.once_a_day import print_once_a_day
from certctl.cli.program import program_of
from certctl.cli.reports import report_lines
from certctl.cli.selection import selection_of
from certctl.cli.session import open_run
from certctl.model.errors import UsageError
from certctl.operations.renew import RenewRequest, renew
from certctl.output.certificates import report_result
from certctl.output.document import Result
from certctl.rules.settings import duration
from certctl.system.foreground import repeat

_SHORTEST = 60.0
"""Seconds between the starts of two runs, at least."""


def run(
    invocation: Invocation,
    names: Sequence[str],
    force: bool,
    ignore_windows: bool,
    dry_run: bool,
    every: str | None,
) -> Result | None:
    """Renew certificates that are due, and retry pending deployments."""
    if every is not None:
        _repeat(invocation, every, once=force or dry_run or ignore_windows)
        return None
    scheduled = _is_scheduled(invocation, names, other=force or dry_run or ignore_windows)
    there_was_a_run = print_once_a_day(invocation) if scheduled else _nothing
    with open_run(invocation) as run:
        chosen: tuple[str, ...] = ()
        if not selection_of(invocation, names).unlimited:
            chosen = choose(invocation, names, run).names
            if not chosen:
                return nothing_chosen(invocation)
        request = RenewRequest(
            chosen,
            force=force,
            dry_run=dry_run,
            unattended=not invocation.interactive,
            ignore_windows=ignore_windows,
        )
        report = renew(request, run)
        there_was_a_run()
        watched = invocation.environment.stderr.isatty()
        if watched:
            report = replace(report, printed_before=())
        everything = bool(chosen) or invocation.output.terminal
        lines = report_lines(report, run, invocation, everything=everything)
        return report_result(report, lines, one_line=request.regular and not watched)


def _is_scheduled(invocation: Invocation, names: Sequence[str], *, other: bool) -> bool:
    """Whether this is a run for all certificates whose text goes to cron's mail, or to a journal;
    not one that does something `other`.
    """
    if other or invocation.json or invocation.json_lines or invocation.interactive:
        return False
    return selection_of(invocation, names).unlimited and not invocation.environment.stderr.isatty()


def _nothing() -> None:
    """Do nothing."""


def _repeat(invocation: Invocation, every: str, *, once: bool) -> None:
    """Renew again and again, until this process is told to stop."""
    seconds = duration(every)
    if seconds is None or seconds < _SHORTEST:
        raise UsageError(
            f"--every {every}: this is not a duration of a minute or longer",
            hint="Give a number with a unit, such as 30m, 1h or 12h.",
        )
    if once:
        raise UsageError("--every cannot be combined with --force, --ignore-windows or --dry-run")
    if invocation.json:
        raise UsageError(
            "--every cannot be combined with --json, which prints one document",
            hint="Use --json-lines, which prints one line for each event.",
        )
    repeat(
        (*program_of(), *without_every(invocation.arguments)),
        seconds,
        variables=invocation.environment.variables,
    )


def without_every(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without `--every` and its value."""
    kept: list[str] = []
    rest = iter(arguments)
    for each in rest:
        if each == "--every":
            next(rest, None)
        elif not each.startswith("--every="):
            kept.append(each)
    return kept
