"""What `certctl renew` is to a scheduler: the command of this certctl, and this machine."""

from __future__ import annotations

import os
from pathlib import Path

from certctl.cli.invocation import Invocation
from certctl.cli.program import program_of
from certctl.engine.run import Run
from certctl.schedule.job import Job, job_for
from certctl.schedule.scheduler import Machine

_HOME_OF_ROOT = Path("/etc/certctl")


def machine_of(invocation: Invocation) -> Machine:
    """Return the machine whose schedulers are used."""
    return Machine(user_id=invocation.environment.user_id)


def job_of(invocation: Invocation, run: Run) -> Job:
    """Return the job that renews the certificates of this home directory."""
    home = Path(os.path.normpath(Path(run.services.tree.home)))
    usual = _HOME_OF_ROOT if invocation.environment.user_id == 0 else home
    return job_for(program_of(), home, default_home=usual, node=os.uname().nodename)
