"""The result of `check` in the format of a monitoring plug-in: one line with performance data.

Monitoring Plugins Development Guidelines: the line is short enough for old agents, labels contain
no quotes or equals signs, and a threshold `N:` alerts below N.
"""

from __future__ import annotations

from dataclasses import asdict

from certctl.inspection.check import CheckResult, Problem, Remaining
from certctl.model.errors import CertctlError, PluginStatus
from certctl.model.text import MESSAGE, printable
from certctl.output.console import Message
from certctl.output.document import Json, Result
from certctl.output.times import left

_MOST_PROBLEMS = 5
_MOST_SUBJECTS = 8
_LONGEST_PROBLEM = 160


def check_result(found: CheckResult) -> Result:
    """Return the result of `check`, with the exit status of a plug-in."""
    status = found.status
    data: dict[str, Json] = {
        "state": status.name.lower(),
        "certificates": found.certificates,
        "services": found.services,
        "failing": found.failing,
        "undeployed": found.undeployed,
        "waiting": found.waiting,
        "run_age": None if found.run_age is None else int(found.run_age.total_seconds()),
        "problems": [_problem_object(each) for each in found.problems],
        "remaining": [dict(asdict(each)) for each in found.remaining],
    }
    line = f"{_line(status, _summary(found))} | {' '.join(_performance(found))}"
    return Result(data, (Message(line),), (), status)


def unknown_result(error: CertctlError) -> Result:
    """Return the result of a check that ended with an error: UNKNOWN."""
    hint = f" ({error.hint})" if error.hint else ""
    line = _line(PluginStatus.UNKNOWN, f"{error.message}{hint}")
    return Result({}, (Message(line),), (error,), PluginStatus.UNKNOWN, silent=True)


def _line(status: PluginStatus, text: str) -> str:
    return f"CERTCTL {status.name} - {printable(text, MESSAGE).replace('|', '/')}"


def _summary(found: CheckResult) -> str:
    if not (found.certificates or found.services):
        return "there are no certificates in this home directory (--home DIR selects another)"
    counted = ", ".join(
        f"{count} {word}{'' if count == 1 else 's'}"
        for count, word in ((found.certificates, "certificate"), (found.services, "service"))
        if count
    )
    if not found.problems:
        soonest = min(found.remaining, key=lambda each: each.seconds, default=None)
        end = "" if soonest is None else f", {soonest.subject} has {left(soonest.seconds)} left"
        waiting = f", {found.waiting} waiting for a deploy window" if found.waiting else ""
        return f"{counted}{waiting}{end}"
    shown = [_phrase(each) for each in found.problems[:_MOST_PROBLEMS]]
    more = len(found.problems) - len(shown)
    if more:
        shown.append(f"and {more} more")
    return f"{counted}, {len(found.problems)} with problems: {'; '.join(shown)}"


def _phrase(problem: Problem) -> str:
    text = f"{problem.subject}: {problem.message}"
    return text if len(text) <= _LONGEST_PROBLEM else f"{text[:_LONGEST_PROBLEM]}..."


def _problem_object(problem: Problem) -> dict[str, Json]:
    return {
        "state": problem.status.name.lower(),
        "subject": problem.subject,
        "code": problem.code,
        "message": problem.message,
    }


def _performance(found: CheckResult) -> list[str]:
    """Return the earliest expiry, the counts, and each expiry if there are few."""
    ends = sorted(found.remaining, key=lambda each: each.seconds)
    shown = [_left("left", ends[0])] if ends else []
    shown += [
        f"certificates={found.certificates};;;0",
        f"services={found.services};;;0",
        f"failing={found.failing};;;0",
        f"undeployed={found.undeployed};;;0",
        f"waiting={found.waiting};;;0",
    ]
    if found.run_age is not None:
        shown.append(f"run_age={int(found.run_age.total_seconds())}s;;;0")
    if len(ends) <= _MOST_SUBJECTS:
        shown += [_left(f"left {each.subject}", each) for each in found.remaining]
    return shown


def _left(label: str, end: Remaining) -> str:
    plain = label.replace("/starttls=", "/").replace("=", "_").replace("'", "_")
    quoted = f"'{plain}'" if " " in plain else plain
    return f"{quoted}={int(end.seconds)}s;{int(end.warning)}:;{int(end.critical)}:"
