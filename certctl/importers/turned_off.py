"""Turns the schedules of another client off, and on again.

A file in `/etc/cron.d` becomes a hidden one: every cron skips those, and packages leave it alone. A
timer is disabled. Crontabs and scripts that do other things too are left to the user.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from certctl.model.errors import ConfigurationError
from certctl.model.importing import FoundSchedule, TakenSchedule
from certctl.system.cron_names import hidden
from certctl.system.files import rename
from certctl.system.process import run

_CRON = "/etc/cron.d/"
_SECONDS = 30.0


def planned(schedule: FoundSchedule, others: Sequence[FoundSchedule]) -> TakenSchedule | None:
    """Return how a schedule is turned off; None if that is left to the user."""
    where = schedule.where
    if where.startswith(_CRON):
        same = {each.client for each in others if each.where == where}
        if same == {schedule.client} and _only_runs(where, schedule, others):
            return TakenSchedule(
                schedule.client, where, "rename", f"{_CRON}{hidden(where.removeprefix(_CRON))}"
            )
    elif schedule.kind == "systemd" and where.endswith(".timer"):
        return TakenSchedule(schedule.client, where, "systemd")
    return None


def _only_runs(where: str, schedule: FoundSchedule, others: Sequence[FoundSchedule]) -> bool:
    """Return whether a file of cron runs nothing but the client."""
    commands = [each.command for each in others if each.where == where] + [schedule.command]
    try:
        lines = Path(where).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    jobs = [
        each
        for each in lines
        if each.strip() and not each.lstrip().startswith("#") and "=" not in each.split()[0]
    ]
    return all(any(command in job for command in commands) for job in jobs)


def turn_off(taken: TakenSchedule) -> None:
    """Turn a schedule off. Raises `StoreError`, `ConfigurationError`."""
    if taken.how == "systemd":
        _systemctl("disable", taken)
    elif taken.aside is not None and Path(taken.where).exists():
        rename(Path(taken.where), Path(taken.aside))


def turn_on(taken: TakenSchedule) -> None:
    """Turn a schedule on again. Raises as `turn_off` does."""
    if taken.how == "systemd":
        _systemctl("enable", taken)
        return
    back = taken.aside is not None and Path(taken.aside).exists()
    if taken.aside is not None and back and not Path(taken.where).exists():
        rename(Path(taken.aside), Path(taken.where))


def _systemctl(verb: str, taken: TakenSchedule) -> None:
    unit = Path(taken.where).name
    done = run(["systemctl", verb, "--now", unit], environment={}, timeout=_SECONDS)
    if done.exit_status != 0:
        how = "off" if verb == "disable" else "on"
        raise ConfigurationError(
            f"{unit} cannot be turned {how}: {done.output.strip()}",
            hint=f"Try it by hand: systemctl {verb} --now {unit}",
            code="import.schedule",
        )
