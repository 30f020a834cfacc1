"""Schedule: have `renew` run every hour by what this machine has for that, and say what would run.

One scheduler for a home directory, the best that there is: systemd, `/etc/cron.d`, the user's
crontab. Whatever else runs certctl already is left alone and told of, so that nothing runs twice.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from certctl.errors import ConfigurationError, UsageError
from certctl.operations.run import Run
from certctl.schedule.cron import Cron, Crontab
from certctl.schedule.job import Job
from certctl.schedule.scheduler import Installed, Machine, Scheduler, is_ours
from certctl.schedule.systemd import Systemd
from certctl.system.files import check_trusted
from certctl.system.timers import timers_for

RENEW_COMMAND = ("certctl", "renew")
"""The words of a line that lets certctl renew."""


@dataclass(frozen=True)
class Schedule:
    """What runs, or would run. `done` has what was changed just now, a phrase each; `others` are
    the places that run certctl and are not ours; `last_run` is when `renew` last ran by itself.
    """

    command: tuple[str, ...]
    scheduler: str | None
    when: str
    installed: Installed | None
    content: dict[str, str]
    done: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    last_run: datetime | None = None


def install(run: Run, job: Job, machine: Machine, wanted: str | None, *, force: bool) -> Schedule:
    """Have the job run every hour, by the scheduler `wanted` or by the best that there is; one of
    ours that is another is taken away.

    Raises `UsageError` where something else runs certctl already, unless `force`, and
    `ConfigurationError` where there is no scheduler, or others could change what would run.
    """
    chosen = _chosen(job, machine, wanted)
    others = _others(job, machine)
    if others and not force:
        raise UsageError(
            f"{', '.join(others)} runs certctl already; nothing was changed",
            hint="Remove that first, or insist with --force.",
            code="schedule.exists",
        )
    if machine.user_id == 0:
        check_trusted(Path(job.program[0]))
    foreign = [path for path in chosen.content(job) if _is_foreign(Path(path))]
    if foreign and not force:
        raise UsageError(
            f"{foreign[0]} is there, and was not written by certctl; nothing was changed",
            hint="Remove it first, or replace it with --force.",
            code="schedule.exists",
        )
    done = chosen.install(job)
    for each in _schedulers(machine):
        if each.name != chosen.name:
            done += each.remove(job)
    return _described(run, job, chosen, done, others)


def show(run: Run, job: Job, machine: Machine) -> Schedule:
    """Return what is installed for the job, or what `install` would write."""
    now = run.services.clock.now()
    for each in _schedulers(machine):
        if each.installed(job, now) is not None:
            return _described(run, job, each, [], _others(job, machine))
    available = [each for each in _schedulers(machine) if each.available()]
    if not available:
        return Schedule(job.command, None, "", None, {}, last_run=_last_run(run))
    return _described(run, job, available[0], [], _others(job, machine))


def remove(run: Run, job: Job, machine: Machine) -> Schedule:
    """Have the job run no more, whatever scheduler it was installed with."""
    done = [line for each in _schedulers(machine) for line in each.remove(job)]
    return Schedule(job.command, None, "", None, {}, tuple(done), (), _last_run(run))


def _schedulers(machine: Machine) -> tuple[Scheduler, ...]:
    return Systemd(machine), Cron(machine), Crontab(machine)


def _chosen(job: Job, machine: Machine, wanted: str | None) -> Scheduler:
    known = {each.name: each for each in _schedulers(machine)}
    for each in known.values():
        if each.available() and wanted in {None, each.name}:
            return each
    what = "neither systemd nor cron was found" if wanted is None else f"there is no {wanted}"
    raise ConfigurationError(
        f"{what} here, for this user",
        hint=f"Install cron, or let something else run this every hour: {' '.join(job.command)}",
        code="schedule.unavailable",
    )


def _others(job: Job, machine: Machine) -> tuple[str, ...]:
    """Return what runs certctl for this user and was not written by us."""
    found: list[str] = []
    if machine.user_id == 0:
        own = {path for each in _schedulers(machine) for path in each.content(job)}
        found += [
            each.where
            for each in timers_for(RENEW_COMMAND, root=machine.root)
            if each.enabled
            and each.where not in own
            and not is_ours(Path(each.where))
            and "/spool/" not in each.where  # other users', and for their own home directories
        ]
    if Crontab(machine).runs_elsewhere(RENEW_COMMAND):
        found.append("your crontab")
    return tuple(found)


def _is_foreign(path: Path) -> bool:
    return path.is_absolute() and os.path.lexists(path) and not is_ours(path)


def _described(
    run: Run, job: Job, scheduler: Scheduler, done: list[str], others: tuple[str, ...]
) -> Schedule:
    return Schedule(
        command=job.command,
        scheduler=scheduler.name,
        when=scheduler.when(job),
        installed=scheduler.installed(job, run.services.clock.now()),
        content=scheduler.content(job),
        done=tuple(done),
        others=others,
        last_run=_last_run(run),
    )


def _last_run(run: Run) -> datetime | None:
    return max(run.services.store.history().runs, default=None)
