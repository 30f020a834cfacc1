"""Schedule `renew` every hour with this machine's scheduler, and show the schedule.

A home directory has one schedule, by the first available of systemd, `/etc/cron.d` and the user's
crontab. Existing schedules not created by certctl are reported and left alone, so that nothing
runs twice.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from certctl.engine.run import Run
from certctl.model.errors import ConfigurationError, UsageError
from certctl.model.lazy_dataclass import dataclass
from certctl.rules.settings import Settings, Source
from certctl.schedule.cron import Cron, Crontab
from certctl.schedule.job import Job
from certctl.schedule.scheduler import Installed, Machine, Scheduler, is_ours
from certctl.schedule.systemd import Systemd
from certctl.system.timers import RENEW_COMMAND, timers_for
from certctl.system.trust import check_trusted

_PROXY_VARIABLES = frozenset({"https_proxy", "all_proxy"})


@dataclass(frozen=True)
class Schedule:
    """What runs, or would run. `done` describes each change that was made; `others` are schedules
    not created by certctl; `last_run` is when `renew` last ran unattended. `external`: the user has
    said that something else runs it.
    """

    command: tuple[str, ...]
    scheduler: str | None
    when: str
    installed: Installed | None
    content: dict[str, str]
    done: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    last_run: datetime | None = None
    external: bool = False


def note_external(run: Run, *, external: bool) -> None:
    """Record in the home directory whether something else runs `renew`."""
    run.services.machine.record_external_schedule(external=external)


def install(
    run: Run,
    job: Job,
    machine: Machine,
    wanted: str | None,
    *,
    force: bool,
    variables: Mapping[str, str],
) -> Schedule:
    """Run the job every hour, with the scheduler `wanted` or the first one available; schedules
    that certctl installed with another scheduler are removed. Warn if a proxy is set only in
    `variables`, those of the shell, which the scheduler does not pass on.

    Raises `UsageError` if something else already runs certctl, unless `force`, and
    `ConfigurationError` if there is no scheduler, or if other users can change what would run.
    """
    chosen = _chosen(job, machine, wanted)
    others = _others(job, machine)
    if others and not force:
        raise UsageError(
            f"certctl is already run by {', '.join(others)}; nothing was changed",
            hint="Remove that first, or add this schedule anyway with --force.",
            code="schedule.exists",
        )
    if machine.user_id == 0:
        check_trusted(Path(job.program[0]))
    existing = [path for path in chosen.content(job) if _is_third_party(Path(path))]
    if existing and not force:
        raise UsageError(
            f"{existing[0]} already exists and was not created by certctl; nothing was changed",
            hint="Remove it first, or replace it with --force.",
            code="schedule.exists",
        )
    if (variable := _shell_proxy(run.services.settings, variables)) is not None:
        run.warn(
            f"the proxy in the environment variable {variable} is not used by scheduled renewals: "
            'add it to certctl.toml as proxy = "URL"'
        )
    done = chosen.install(job)
    for each in _schedulers(machine):
        if each.name != chosen.name:
            done += each.remove(job)
    return _described(run, job, chosen, done, others)


def show(run: Run, job: Job, machine: Machine) -> Schedule:
    """Return the installed schedule, or the one that `install` would create."""
    now = run.services.clock.now()
    for each in _schedulers(machine):
        if each.installed(job, now) is not None:
            return _described(run, job, each, [], _others(job, machine))
    available = [each for each in _schedulers(machine) if each.available()]
    if not available:
        external = run.services.machine.history().external
        return Schedule(job.command, None, "", None, {}, (), (), _last_run(run), external)
    return _described(run, job, available[0], [], _others(job, machine))


def remove(run: Run, job: Job, machine: Machine) -> Schedule:
    """Remove the job from all schedulers."""
    done = [line for each in _schedulers(machine) for line in each.remove(job)]
    return Schedule(job.command, None, "", None, {}, tuple(done), (), _last_run(run))


def _shell_proxy(settings: Settings, variables: Mapping[str, str]) -> str | None:
    """Return the variable that sets a proxy in this shell, if nothing else does."""
    if settings.text("proxy") is not None:
        return "CERTCTL_PROXY" if "proxy" in settings.given(Source.ENVIRONMENT) else None
    return next((each for each in variables if each.lower() in _PROXY_VARIABLES), None)


def _schedulers(machine: Machine) -> tuple[Scheduler, ...]:
    return Systemd(machine), Cron(machine), Crontab(machine)


def _chosen(job: Job, machine: Machine, wanted: str | None) -> Scheduler:
    known = {each.name: each for each in _schedulers(machine)}
    for each in known.values():
        if each.available() and wanted in {None, each.name}:
            return each
    what = "neither systemd nor cron is" if wanted is None else f"{wanted} is not"
    raise ConfigurationError(
        f"{what} available for this user on this machine",
        hint="Choose another one with --with, install cron, or run this every hour in another way: "
        f"{' '.join(job.command)}",
        code="schedule.unavailable",
    )


def _others(job: Job, machine: Machine) -> tuple[str, ...]:
    """Return the schedules that run certctl for this user and were not created by certctl."""
    found: list[str] = []
    if machine.user_id == 0:
        own = {path for each in _schedulers(machine) for path in each.content(job)}
        found += [
            each.where
            for each in timers_for(RENEW_COMMAND, root=machine.root)
            if each.enabled
            and each.where not in own
            and not is_ours(Path(each.where))
            and "/spool/" not in each.where  # of other users, for their own home directories
        ]
    if Crontab(machine).runs_elsewhere(RENEW_COMMAND):
        found.append("your crontab")
    return tuple(found)


def _is_third_party(path: Path) -> bool:
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
        external=run.services.machine.history().external,
    )


def _last_run(run: Run) -> datetime | None:
    return max(run.services.machine.history().runs, default=None)
