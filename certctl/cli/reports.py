"""Shared by the actions of commands: files, confirmations, and the lines that report a run."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from certctl.cli.invocation import Invocation
from certctl.engine.report import Report, error_of
from certctl.engine.run import Run
from certctl.model.certificate import Version
from certctl.model.errors import ConsentRequired, Declined, UsageError
from certctl.model.run import Outcome, WindowKind, WindowWait
from certctl.output.certificates import files_lines, renewal_text
from certctl.output.console import Paragraph
from certctl.output.listing import waits_text
from certctl.output.times import Times, left
from certctl.rules.renewal import STOPPED

_FILE_LIMIT = 1_000_000

_QUIET_ACTIONS = frozenset({"unchanged", "busy"})

_ACTIONS = MappingProxyType(
    {
        "busy": "skipped",
        "dry-run": "tested",
        "undeployed": "not deployed",
        "waiting": "to be retried",
    }
)
"""What a summary calls the actions whose name is not a plain word for it."""


def read_file(path: Path) -> bytes:
    """Return the content of a file named on the command line. Raises `UsageError`."""
    try:
        with path.open("rb") as file:
            return file.read(_FILE_LIMIT)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def require_confirmation(invocation: Invocation, question: str, name: str | None) -> None:
    """Return if `--yes` was given or the user agrees to the question. Raises `Declined` if the user
    does not, `ConsentRequired` if nobody can be asked.
    """
    answer = invocation.confirm(question)
    if answer:
        return
    if answer is None:
        raise ConsentRequired(
            "nothing was done: confirmation is required, and there is no terminal to ask on",
            hint="Confirm in advance with --yes.",
            name=name,
        )
    raise Declined("nothing was changed: not confirmed", name=name)


def report_lines(
    report: Report, run: Run, invocation: Invocation, *, everything: bool = True
) -> list[object]:
    """Return the lines that report a run. Unless `everything` is set, certificates to which nothing
    happened are left out.
    """
    times = Times(local=invocation.output.terminal)
    known = {id(each) for each in report.printed_before}
    reported = [
        each
        for each in report.outcomes
        if everything or not (each.action in _QUIET_ACTIONS or id(error_of(each)) in known)
    ]
    lines = [
        line
        for each in reported
        if each.error is None
        for line in (
            *_outcome_lines(each, run, times, brief=len(reported) > 1),
            *(_deployed_lines(each, run) if len(reported) == 1 else ()),
        )
    ]
    if len(reported) > 1:
        lines.append(Paragraph(_summary(report)))
    elif everything and not report.outcomes and not report.errors and not report.interrupted:
        lines.append(f"Nothing is due ({_counted(report.considered)}).")
    return lines


def _outcome_lines(
    outcome: Outcome, run: Run, times: Times, *, brief: bool = False
) -> list[object]:
    name = outcome.name
    renewal = renewal_text(outcome.renews_at, outcome.reason or "", due=False, times=times)
    match outcome.action:
        case "unchanged":
            on = f" To turn it on: certctl edit {name} --autorenew" if renewal == STOPPED else ""
            text = f"{renewal or 'nothing to do'}.{on}"
            if outcome.waits is not None:
                text = _waits(outcome.waits, name, times)
            return [Paragraph(f"{name}: {text}")]
        case "busy":
            return [Paragraph(f"{name}: skipped; {outcome.reason}.")]
        case "postponed" if outcome.renews_at is not None:
            when = times.minute(outcome.renews_at)
            why = f": {outcome.reason}" if outcome.reason else ""
            return [Paragraph(f"{name}: waits until {when}{why}.")]
        case "dry-run":
            more = f" {outcome.reason}." if outcome.reason else ""
            return [Paragraph(f"{name}: the dry run succeeded; nothing was saved.{more}")]
        case "updated":
            stopped = not run.services.records.spec(name).autorenew
            return [Paragraph(f"{name}: options saved{f'; {STOPPED}' if stopped else ''}.")]
        case "deployed" | "undeployed":  # the error of one that is not deployed is printed
            done = outcome.deploy
            number = done.version if done is not None and done.deployed else None
            return [Paragraph(f"{name}: version {number} deployed.")] if number else []
    if outcome.version is None or outcome.action == "revoked":
        return [Paragraph(f"{name}: {_revoked(outcome) or outcome.action}")]
    return _version_lines(outcome, outcome.version, run, times, brief=brief)


def _waits(waits: WindowWait, name: str, times: Times) -> str:
    """Return what waits for a window, and how it is done now."""
    command = "deploy" if waits.kind is WindowKind.DEPLOY else "renew --ignore-windows"
    return f"{waits_text(waits, times)}. To do it now: certctl {command} {name}"


def _deployed_lines(outcome: Outcome, run: Run) -> list[object]:
    """Return what a deployment to servers did, and where the certificate was seen afterwards."""
    done = outcome.deploy
    if done is None or not done.deployed or outcome.name not in run.services.records.names():
        return []
    targets = run.services.records.spec(outcome.name).deploy.targets
    if not targets:
        return []
    seen = dict.fromkeys(
        f"[{each.address}]:{each.service.port}"
        if ":" in each.address
        else f"{each.address}:{each.service.port}"
        for each in done.probes
        if each.error is None
    )
    served = f"; served at {', '.join(seen)}" if seen else ""
    return [Paragraph(f"  {', '.join(targets)}: tested, reloaded{served}.")]


def _revoked(outcome: Outcome) -> str:
    """Return which versions were revoked, "" for none."""
    versions = ", ".join(f"{each.version} (serial {each.serial})" for each in outcome.revoked)
    return f"revoked version {versions}." if versions else ""


def _version_lines(
    outcome: Outcome, version: Version, run: Run, times: Times, *, brief: bool
) -> list[object]:
    """Return the lines that report a new version: one line if `brief`."""
    if outcome.waits is not None:
        waits = _waits(outcome.waits, version.name, times)
        return [Paragraph(f"{version.name}: issued; {waits}")]
    remaining = (version.not_after - run.services.clock.now()).total_seconds()
    until = f"{times.minute(version.not_after)} ({left(remaining)})"
    if brief:
        return [
            Paragraph(f"{version.name}: version {version.number} is live, valid until {until}.")
        ]
    names = ", ".join(each.value for each in version.facts.identifiers)
    return [
        Paragraph(f"{version.name}: version {version.number} is live for {names}."),
        f"  It is valid until {until}.",
        *files_lines(run.services.tree.files(version)),
    ]


def _summary(report: Report) -> str:
    counts: dict[str, int] = {}
    for outcome in report.outcomes:
        counts[outcome.action] = counts.get(outcome.action, 0) + 1
    text = ", ".join(f"{count} {_ACTIONS.get(action, action)}" for action, count in counts.items())
    return f"{_counted(report.considered)}: {text}."


def _counted(certificates: int) -> str:
    return f"{certificates} certificate{'' if certificates == 1 else 's'}"
