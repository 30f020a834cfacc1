"""The results of `certctl schedule`, as text and as JSON."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from certctl.operations.schedule import Schedule
from certctl.output.certificates import pairs
from certctl.output.console import Paragraph
from certctl.output.document import Json, Result
from certctl.output.times import Times, moment


def installed_result(found: Schedule, times: Times) -> Result:
    """Return the result of `schedule install`: what was done, and when renewals now run."""
    return Result(
        _object(found),
        [*(_sentences(found.done) or ["Already installed."]), *_lines(found, times)],
    )


def removed_result(found: Schedule) -> Result:
    """Return the result of `schedule remove`."""
    return Result(_object(found), _sentences(found.done) or ["No schedule is installed."])


def external_result(*, external: bool) -> Result:
    """Return the result of `schedule external`."""
    if not external:
        line = "Forgotten. Check what renews the certificates: certctl schedule show"
    else:
        line = "Noted: something else runs certctl renew. To undo: certctl schedule external --undo"
    return Result({"external": external}, [Paragraph(line)])


def shown_result(found: Schedule, times: Times) -> Result:
    """Return the result of `schedule show`."""
    if found.installed is not None:
        return Result(_object(found), _lines(found, times))
    if found.scheduler is None:
        lines: list[object] = ["No schedule is installed: neither systemd nor cron was found."]
    else:
        lines = ["No schedule is installed. Install it: certctl schedule install"]
    lines += [f"{each} runs certctl renew." for each in found.others]
    if found.external:
        lines.append("Something else runs certctl renew, as noted with: certctl schedule external")
    if found.scheduler is None:
        return Result(_object(found), lines)
    lines.append(f"It would use {found.scheduler} and write:")
    for path, text in found.content.items():
        lines += ["", f"{path}:", *(f"    {line}".rstrip() for line in text.splitlines())]
    return Result(_object(found), lines)


def _lines(found: Schedule, times: Times) -> list[str]:
    installed = found.installed
    if installed is None:
        return []
    rows = [
        ("runs", shlex.join(found.command)),
        ("when", found.when),
        ("next", times.minute(installed.next) if installed.next else "unknown"),
        ("last", times.minute(found.last_run) if found.last_run else "no automatic run yet"),
        ("by", f"{installed.scheduler}, {', '.join(installed.where)}"),
    ]
    lines = pairs(rows)
    if not installed.enabled:
        lines.append("It is not enabled. Enable it: certctl schedule install")
    if not installed.current:
        lines.append("It is out of date. Update it: certctl schedule install")
    return [*lines, *(f"{each} also runs certctl renew." for each in found.others)]


def _sentences(phrases: Sequence[str]) -> list[str]:
    return [f"{each[0].upper()}{each[1:]}." for each in phrases]


def _object(found: Schedule) -> dict[str, Json]:
    installed = found.installed
    return {
        "installed": installed is not None,
        "scheduler": found.scheduler,
        "command": list(found.command),
        "when": found.when or None,
        "next": moment(installed.next) if installed else None,
        "last": moment(found.last_run),
        "files": list(installed.where) if installed else [],
        "enabled": installed.enabled if installed else False,
        "current": installed.current if installed else False,
        "done": list(found.done),
        "others": list(found.others),
        "external": found.external,
    }
