"""What runs `renew` from time to time, in words and in JSON."""

from __future__ import annotations

import shlex

from certctl.operations.schedule import Schedule
from certctl.output.certificates import pairs
from certctl.output.document import Json, Result
from certctl.output.times import Times, moment


def installed_result(found: Schedule, times: Times) -> Result:
    """Return the result of `schedule install`: what was done, and what now runs when."""
    done = [f"{each[0].upper()}{each[1:]}." for each in found.done]
    return Result(_object(found), [*(done or ["Nothing had to be done."]), *_lines(found, times)])


def removed_result(found: Schedule) -> Result:
    """Return the result of `schedule remove`."""
    done = [f"{each[0].upper()}{each[1:]}." for each in found.done]
    return Result(_object(found), done or ["Nothing was there to be removed."])


def shown_result(found: Schedule, times: Times) -> Result:
    """Return the result of `schedule show`."""
    if found.installed is not None:
        return Result(_object(found), _lines(found, times))
    lines: list[object] = ["Nothing was installed by certctl schedule install."]
    lines += [f"{each} runs certctl." for each in found.others]
    if found.scheduler is None:
        lines.append("There is neither systemd nor cron here that it could use.")
        return Result(_object(found), lines)
    lines.append(f"It would use {found.scheduler}, and write:")
    for path, text in found.content.items():
        lines += ["", f"{path}:", *(f"    {line}".rstrip() for line in text.splitlines())]
    return Result(_object(found), lines)


def _lines(found: Schedule, times: Times) -> list[str]:
    installed = found.installed
    if installed is None:
        return []
    shown = [
        ("runs", shlex.join(found.command)),
        ("when", found.when),
        ("next", times.minute(installed.next) if installed.next else "not known"),
        ("last", times.minute(found.last_run) if found.last_run else "not by itself yet"),
        ("by", f"{installed.scheduler}, {', '.join(installed.where)}"),
    ]
    lines = pairs(shown)
    if not installed.enabled:
        lines.append("It is not enabled: certctl schedule install")
    if not installed.current:
        lines.append("It is not what certctl would write now: certctl schedule install")
    return [*lines, *(f"{each} runs certctl too." for each in found.others)]


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
    }
