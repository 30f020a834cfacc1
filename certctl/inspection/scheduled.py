"""Whether anything on this machine runs `certctl renew` unattended: a timer or cron job, something
else that was announced with `certctl schedule external`, or what has run it lately.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import timedelta
from pathlib import Path

from certctl.engine.run import Run
from certctl.model.lazy_dataclass import dataclass
from certctl.system.timers import RENEW_COMMAND, Timer, timers_for, user_crontab

RUN_EXPECTED = timedelta(days=2)
"""How long ago the last scheduled run of `renew` may be before that is a finding."""

INSTALL = "certctl schedule install"


@dataclass(frozen=True)
class MachineContext:
    """The environment of the caller: its variables, the root of the file system that cron and
    systemd read, and whether to read this user's crontab.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    root: Path = Path("/")
    ask_crontab: bool = True


def is_renewed(context: MachineContext, run: Run) -> bool:
    """Return whether something runs `renew`, or has done so lately. Reads files only, the crontab
    of this user last.
    """
    history = run.services.machine.history()
    if history.external:
        return True
    if history.runs and run.services.clock.now() - max(history.runs) < RUN_EXPECTED:
        return True
    return any(each.enabled for each in timers(context))


def timers(context: MachineContext) -> list[Timer]:
    """Return the timers and cron jobs on this machine that run `renew`."""
    home = context.variables.get("HOME")
    units = Path(home) / ".config" / "systemd" / "user" if home else None
    found = timers_for(RENEW_COMMAND, root=context.root, user_units=units)
    if any(each.enabled for each in found) or not context.ask_crontab:
        return found
    own = user_crontab(RENEW_COMMAND)
    return found if own is None else [*found, own]
